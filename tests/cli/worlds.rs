//! `dht sim`, run as a program, with networks that are small enough for a debug build.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const SMALL: &str = "sim --nodes 100 --lookups 6";
const ALGORITHMS: [&str; 4] = ["this crate", "lock-step", "libtorrent", "jech"];

fn run(words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dht")).args(words.split_whitespace()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(words: &str) -> Value {
    let text = stdout(&run(words));
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let words = format!("{SMALL} --json --compare --dead 20% --nat 0.3 --churn 30m --loss 5%");
    let [one, two] = [(); 2].map(|()| stdout(&run(&words)));
    assert_eq!(one, two);
    assert_ne!(one, stdout(&run(&format!("{words} --seed 2"))));
}

#[test]
fn the_figures_are_of_the_network_that_the_options_describe() {
    let quiet = json(&format!("{SMALL} --json --loss 0"));
    assert_eq!((quiet["event"].as_str(), quiet["dead"].as_u64()), (Some("sim"), Some(0)));
    let ours = &quiet["algorithms"][0];
    assert_eq!(ours["name"], ALGORITHMS[0]);
    let times = [
        ("get_peers", "first_peer_ms"),
        ("get_peers", "all_peers_ms"),
        ("get_peers", "done_ms"),
        ("announce", "stands_at_8_ms"),
        ("announce", "acknowledged_at_8_ms"),
        ("announce", "done_ms"),
    ];
    for (operation, figure) in times {
        let [median, late, most] =
            ["p50", "p95", "max"].map(|share| ours[operation][figure][share].as_f64().unwrap());
        assert!(0.0 < median && median <= late && late <= most, "{operation} {figure}: {ours}");
        assert_eq!(ours[operation][figure]["failed"], 0, "{operation} {figure}");
    }
    assert!(ours["get_peers"]["queries"]["p50"].as_u64() >= Some(8), "{ours}");
    assert!(ours["get_peers"]["hops"]["p50"].as_u64() >= Some(1), "{ours}");

    let rough = json(&format!("{SMALL} --json --dead 0.5 --nat 0.5"));
    assert_eq!(rough["dead"], 50);
    assert!((30..60).contains(&rough["behind_nat"].as_u64().unwrap()), "{rough}");
}

#[test]
fn the_table_has_a_row_for_each_figure_and_algorithm() {
    let rows = [
        "get_peers: first peer (s)",
        "get_peers: all peers (s)",
        "get_peers: done (s)",
        "get_peers: queries",
        "get_peers: hops",
        "announce: stored at 8 (s)",
        "announce: acknowledged at 8 (s)",
        "announce: done (s)",
        "announce: queries",
    ];
    let alone = stdout(&run(SMALL));
    assert!(alone.contains("seed 1") && alone.contains("p50") && alone.contains("failed"), "{alone}");
    let compared = stdout(&run(&format!("{SMALL} --compare")));
    for row in rows {
        assert!(alone.lines().any(|line| line.starts_with(row)), "{row}: {alone}");
        assert!(compared.lines().any(|line| line == row), "{row}: {compared}");
    }
    for name in ALGORITHMS {
        let count = compared.lines().filter(|line| line.trim_start().starts_with(name)).count();
        assert_eq!(count, rows.len(), "{name}: {compared}");
    }
}

#[test]
fn the_plot_labels_its_axes_and_has_a_line_for_each_algorithm() {
    let picture = Picture::new("axes");
    let output = run(&format!("{SMALL} --compare --plot {}", picture.0.display()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let svg = std::fs::read_to_string(&picture.0).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let texts: Vec<&str> = svg.lines().filter(|line| !line.starts_with('<')).collect();
    let count = |text: &str| texts.iter().filter(|line| **line == text).count();
    assert_eq!((count("time since the start (s)"), count("share of all (%)")), (3, 1), "{texts:?}");
    for name in ALGORITHMS {
        assert_eq!(count(name), 1, "{name}: {texts:?}");
    }
    // One line in the legend, and one in each of three panels.
    let widths = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"].map(|colour| {
        let lines: Vec<_> =
            svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(colour)).collect();
        assert_eq!(lines.len(), 4, "{colour}");
        let width = |line: &str| line.split("stroke-width=\"").nth(1)?.split('"').next()?.parse::<u32>().ok();
        lines.iter().map(|line| width(line).unwrap()).collect::<Vec<_>>()
    });
    assert!(
        widths[1..].iter().flatten().all(|width| *width < widths[0][0]),
        "the line of this crate is visible: {widths:?}"
    );
    // The caption describes what was measured, and the other algorithms.
    let caption = texts.join(" ");
    for part in ["100 nodes, 0 dead", "seed 1", "lookups: 6", "lock-step: ", "libtorrent: ", "jech: "] {
        assert!(caption.contains(part), "{part}: {texts:?}");
    }
}

#[test]
fn bad_arguments_end_with_2_and_one_line() {
    for words in [
        "--nodes 15",
        "--nodes many",
        "--seed x",
        "--rtt-median 80",
        "--rtt-median 11s",
        "--loss 101%",
        "--dead 1.1",
        "--nat half",
        "--churn 10s",
        "--lookups 0",
        "--lookups 5001",
        "--plot no/such/folder/x.svg",
    ] {
        let output = run(&format!("sim {words}"));
        assert_eq!(output.status.code(), Some(2), "{words}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr).lines().count();
        assert!(output.stdout.is_empty() && stderr == 1, "{words}: {output:?}");
    }
}

#[test]
fn a_lookup_without_results_ends_with_1() {
    let output = run("sim --nodes 16 --lookups 1 --loss 100%");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A file that is removed when dropped.
struct Picture(PathBuf);

impl Picture {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("dht-sim-{name}-{}.svg", std::process::id())))
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
