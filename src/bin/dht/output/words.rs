//! Formatting of text: numbers with their nouns, lines that fit a terminal.

/// Formats a number and what it counts: `1 peer`, `2 peers`.
pub(crate) fn count(number: impl Into<u64>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{number} {}", plural(noun)),
    }
}

/// Formats a part and the whole: `1 of 1 node`, `1 of 8 nodes`.
pub(super) fn share(part: u32, of: u32, noun: &str) -> String {
    format!("{part} of {}", count(of, noun))
}

/// Rounds a large number for display: `140`, `15 thousand`, `9.8 million`.
pub(crate) fn rough(number: u64) -> String {
    match number {
        ..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{} thousand", (number + 500) / 1000),
        1_000_000.. => format!("{:.1} million", number as f64 / 1e6),
    }
}

pub(super) fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with('h') => format!("{noun}es"),
        None => format!("{noun}s"),
    }
}

/// Shortens a line to the width of the terminal by whole fields from its end: those between ` | `, and
/// within the first of these, those between `, `. The first field always stays.
pub(super) fn fit(line: &str, columns: usize) -> &str {
    let mut line = line;
    while line.chars().count() > columns {
        match line.rfind(" | ").or_else(|| line.rfind(", ")) {
            Some(end) => line = &line[..end],
            None => break,
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!(count(0_u32, "peer"), "0 peers");
        assert_eq!(count(1_u32, "peer"), "1 peer");
        assert_eq!(count(2_u64, "infohash"), "2 infohashes");
        assert_eq!(count(2_u64, "entry"), "2 entries");
        assert_eq!([share(0, 1, "node"), share(1, 8, "node")], ["0 of 1 node", "1 of 8 nodes"]);
    }

    #[test]
    fn a_narrow_line_loses_whole_fields_from_its_end() {
        let line = "ready, IPv4 388 nodes | queries 12/s in, 3/s out | RTT 113 ms";
        for (columns, expected) in [
            (200, line),
            (line.len(), line),
            (line.len() - 1, "ready, IPv4 388 nodes | queries 12/s in, 3/s out"),
            (47, "ready, IPv4 388 nodes"),
            (30, "ready, IPv4 388 nodes"),
            (6, "ready"),
            (0, "ready"),
        ] {
            assert_eq!(fit(line, columns), expected, "{columns}");
        }
        assert_eq!(fit("été, été", 8), "été, été", "columns are not bytes");
    }
}
