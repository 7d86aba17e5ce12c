//! A plot of the share of lookups that had ended, over time.

use std::time::Duration;

use dht_proto::sim::Quantiles;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::heading;
use super::lab::{Outcome, Run};
use super::options::SimOptions;

const WIDTH: u32 = 1000;

/// Heights of the legend, the panels and their titles, and the margins around them, in pixels.
const LEGEND: i32 = 48;
const PANEL: i32 = 372;
const TITLE: i32 = 26;
const MARGIN: i32 = 10;
const LEFT: i32 = 56;
const RIGHT: i32 = 24;

/// Heights of the gap above the caption and of its lines, in pixels, and the letters of a line.
const GAP: i32 = 8;
const LINE: i32 = 19;
const LETTERS: usize = 140;

/// The meanings of the names of the algorithms.
const MEANINGS: [(&str, &str); 3] = [
    (
        "lock-step",
        "the lookup of textbooks: 3 nodes are queried at once, and no other until all of them have answered or 5 s have passed.",
    ),
    ("libtorrent", "the library libtorrent-rasterbar 2.1, of qBittorrent and Deluge."),
    ("jech", "the library jech/dht by Juliusz Chroboczek, of Transmission."),
];

/// Line widths: the line of this crate is drawn first and is the widest, so that others do not hide it.
const OURS: u32 = 5;
const OTHERS: u32 = 2;

/// The possible ends of the time axis, in seconds.
const ROUND: [f64; 19] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0,
    500.0, 1000.0,
];

/// Colours that can be distinguished with any colour vision (Okabe and Ito), and read on white.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// A panel: its title, its outcomes, and the time it shows of them.
type Panel = (&'static str, fn(&Run) -> &[Outcome], fn(&Outcome) -> Option<Duration>);

const PANELS: [Panel; 3] = [
    ("First peer found", |run| &run.lookups, |it| it.first_peer),
    ("Lookup done", |run| &run.lookups, |it| it.done),
    ("Announce acknowledged by 8", |run| &run.announces, |it| it.acknowledged_at_8),
];

/// Draws an SVG with the parameters of the run in its caption. The background is white, so that the text
/// can be read wherever the plot is shown.
pub(super) fn draw(options: &SimOptions, runs: &[Run]) -> String {
    let caption = caption(options, runs);
    let height = LEGEND + PANEL + GAP + LINE * caption.len() as i32 + MARGIN;
    let mut picture = String::new();
    draw_on(
        &SVGBackend::with_string(&mut picture, (WIDTH, height as u32)).into_drawing_area(),
        runs,
        &caption,
    )
    .expect("drawing to a string cannot fail");
    picture
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw_on(area: &Area<'_>, runs: &[Run], caption: &[String]) -> Drawn {
    area.fill(&WHITE)?;
    let (legend, rest) = area.split_vertically(LEGEND);
    let (panels, below) = rest.split_vertically(PANEL);
    draw_legend(&legend, runs)?;
    let range = range(runs);
    for (at, (area, panel)) in panels.split_evenly((1, PANELS.len())).iter().zip(PANELS).enumerate() {
        draw_panel(area, runs, panel, range, at == 0)?;
    }
    for (at, line) in caption.iter().enumerate() {
        below.draw(&Text::new(line.as_str(), (MARGIN + 4, GAP + LINE * at as i32), font(13)))?;
    }
    area.present()?;
    Ok(())
}

/// The parameters of the run and the meanings of the names, in lines.
fn caption(options: &SimOptions, runs: &[Run]) -> Vec<String> {
    let parameters = heading(options, runs).replace('\n', "; ");
    let named = |name: &str| runs.iter().any(|run| run.name == name);
    let meanings = MEANINGS.iter().filter(|(name, _)| named(name));
    let meanings: Vec<String> = meanings.map(|(name, meaning)| format!("{name}: {meaning}")).collect();
    [vec![parameters], meanings].concat().iter().flat_map(|text| wrapped(text)).collect()
}

/// Wraps a text between its words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= LETTERS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The width of a line, in the legend as in the panels.
const fn width(at: usize) -> u32 {
    if at == 0 { OURS } else { OTHERS }
}

fn draw_legend(area: &Area<'_>, runs: &[Run]) -> Drawn {
    let style = font(16).pos(Pos::new(HPos::Left, VPos::Center));
    let (slot, middle) = (160, LEGEND / 2 + 4);
    let left = (WIDTH as i32 - slot * runs.len() as i32) / 2 + 20;
    for (at, (run, colour)) in runs.iter().zip(&COLOURS).enumerate() {
        let x = left + slot * at as i32;
        area.draw(&PathElement::new([(x, middle), (x + 28, middle)], colour.stroke_width(width(at))))?;
        area.draw(&Text::new(run.name, (x + 36, middle), style.clone()))?;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, runs: &[Run], panel: Panel, (from, to): (f64, f64), is_first: bool) -> Drawn {
    let (title, outcomes, time) = panel;
    let (caption, area) = area.split_vertically(TITLE);
    let middle = (MARGIN + LEFT + caption.dim_in_pixel().0 as i32 - RIGHT) / 2;
    let style = font(17).pos(Pos::new(HPos::Center, VPos::Center));
    caption.draw(&Text::new(title, (middle, TITLE / 2), style))?;

    let mut chart = ChartBuilder::on(&area)
        .margin_left(MARGIN)
        .margin_right(RIGHT)
        .margin_bottom(8)
        .x_label_area_size(46)
        .y_label_area_size(LEFT)
        // A little wider, so that both ends are marked.
        .build_cartesian_2d((from * 0.999..to * 1.001).log_scale(), 0.0..102.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("time since the start (s)")
        .x_label_formatter(&|seconds| format!("{}", (seconds * 1000.0).round() / 1000.0))
        .y_label_formatter(&|share| format!("{share:.0}"))
        .y_labels(6)
        .label_style(font(14))
        .axis_desc_style(font(15))
        .bold_line_style(RGBColor(215, 215, 215))
        .max_light_lines(2)
        .light_line_style(RGBColor(240, 240, 240));
    if is_first {
        mesh.y_desc("share of all (%)");
    }
    mesh.draw()?;
    for (at, (run, colour)) in runs.iter().zip(&COLOURS).enumerate() {
        let sample = Quantiles::of(outcomes(run).iter().map(time));
        chart.draw_series(LineSeries::new(steps(&sample, from, to), colour.stroke_width(width(at))))?;
    }
    Ok(())
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// The range of the time axis, in seconds: round numbers around all that is drawn.
fn range(runs: &[Run]) -> (f64, f64) {
    let times = PANELS.iter().flat_map(|(_, outcomes, time)| {
        runs.iter().flat_map(outcomes).filter_map(time).map(|time| time.as_secs_f64())
    });
    let (least, most) = times.fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(it), most.max(it)));
    if most == 0.0 {
        return (0.1, 10.0);
    }
    // A lookup that takes no time has no place on a logarithmic axis.
    let (from, to) = (least.max(0.001), most);
    let below = ROUND.iter().rev().find(|round| **round <= from).copied().unwrap_or(0.001);
    let above = ROUND.iter().find(|round| **round >= to.max(10.0 * below)).copied().unwrap_or(1000.0);
    (below, above)
}

/// The cumulative distribution in percent, as a line of steps.
fn steps(sample: &Quantiles<Duration>, from: f64, to: f64) -> Vec<(f64, f64)> {
    let count = (sample.values().len() + sample.missing()) as f64;
    let mut line = vec![(from, 0.0)];
    let mut share = 0.0;
    for (at, time) in sample.values().iter().enumerate() {
        let seconds = time.as_secs_f64().max(from);
        line.push((seconds, share));
        share = 100.0 * (at + 1) as f64 / count;
        line.push((seconds, share));
    }
    line.push((to, share));
    line
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    #[test]
    fn a_line_rises_with_each_time_and_ends_below_all_if_some_are_missing() {
        let sample = Quantiles::of([Some(Duration::from_secs(2)), Some(Duration::from_secs(1)), None, None]);
        let line = [(0.1, 0.0), (1.0, 0.0), (1.0, 25.0), (2.0, 25.0), (2.0, 50.0), (10.0, 50.0)];
        assert_eq!(steps(&sample, 0.1, 10.0), line);
    }

    #[test]
    fn a_plot_without_measurements_is_a_valid_file() {
        assert_eq!(range(&[]), (0.1, 10.0));
        let definition = SimOptions::augment_args(clap::Command::new("sim"));
        let options = SimOptions::from_arg_matches(&definition.get_matches_from(["sim"])).unwrap();
        assert!(draw(&options, &[]).trim_end().ends_with("</svg>"));
    }

    #[test]
    fn captions_are_wrapped_between_words() {
        let word = "x".repeat(LETTERS - 1);
        assert_eq!(wrapped(&format!("a {word} b c")), ["a".to_owned(), word, "b c".to_owned()]);
        assert_eq!(wrapped(&"y".repeat(2 * LETTERS)).len(), 1, "a word stays whole");
    }
}
