//! The SVG: for each target, latency and accepted rate against offered load, past saturation.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::{Report, Step, Tested};

/// Of one target's two panels together, in pixels.
const ROW: (u32, u32) = (1080, 400);
const TITLE: u32 = 56;
const P50: RGBColor = RGBColor(0x1F, 0x77, 0xB4);
const P99: RGBColor = RGBColor(0xD6, 0x27, 0x28);
const ACCEPTED: RGBColor = RGBColor(0x2C, 0x7A, 0x4B);
const REFUSED: RGBColor = RGBColor(0xE0, 0x8A, 0x1E);
const QUIET: RGBColor = RGBColor(0x8A, 0x8F, 0x98);
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const GRID: RGBColor = RGBColor(0xE6, 0xE8, 0xEB);

/// A line's name, its colour, and its value at a step.
type Line = (&'static str, RGBColor, fn(&Step) -> f64);
type Panel<'p> = DrawingArea<SVGBackend<'p>, Shift>;

/// Draws the report.
pub(crate) fn svg(report: &Report) -> Result<String> {
    let mut text = String::new();
    {
        let rows = u32::try_from(report.tested.len().max(1))?;
        let area = SVGBackend::with_string(&mut text, (ROW.0, TITLE + ROW.1 * rows)).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let (head, body) = area.split_vertically(TITLE);
        let title = format!("{}, {} × {}", report.against, report.machine.cores, report.machine.processor);
        head.draw(&Text::new(title, (24, 18), ("sans-serif", 18).into_font().color(&INK)))
            .map_err(drawing)?;
        for (tested, row) in report.tested.iter().zip(body.split_evenly((report.tested.len().max(1), 1))) {
            let (left, right) = row.split_horizontally(ROW.0 / 2);
            latency(&left, tested)?;
            rates(&right, tested)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

/// Percentiles against the offered rate, both on logarithmic scales.
fn latency(panel: &Panel<'_>, tested: &Tested) -> Result<()> {
    let steps: Vec<&Step> = tested.steps.iter().filter(|step| step.latency_ms.max > 0.0).collect();
    let latencies = steps.iter().flat_map(|step| [step.latency_ms.p50, step.latency_ms.p99]);
    let (low, high) = bounds(latencies);
    let (from, to) = bounds(tested.steps.iter().map(|step| step.offered));
    let caption = ("sans-serif", 16).into_font().color(&INK);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{}: latency from when it was due", title(tested)), caption)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((from..to).log_scale(), (low..high).log_scale())
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .x_desc("offered, per second")
        .y_desc("milliseconds")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(QUIET)
        .draw()
        .map_err(drawing)?;
    let lines: [Line; 2] =
        [("p50", P50, |step| step.latency_ms.p50), ("p99", P99, |step| step.latency_ms.p99)];
    for (label, color, value) in lines {
        let points = steps.iter().map(|step| (step.offered, value(step)));
        let line = LineSeries::new(points, color.stroke_width(2)).point_size(3);
        chart.draw_series(line).map_err(drawing)?.label(label).legend(move |at| key(at, color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .draw()
        .map_err(drawing)
}

/// Accepted and not accepted, against the offered rate; the diagonal is a server that does all.
fn rates(panel: &Panel<'_>, tested: &Tested) -> Result<()> {
    let most = tested.steps.iter().map(|step| step.offered).fold(1.0, f64::max) * 1.05;
    let top =
        tested.steps.iter().map(|step| step.accepted_rate.max(refused(step))).fold(1.0, f64::max) * 1.25;
    let caption = ("sans-serif", 16).into_font().color(&INK);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{}: accepted, and not", title(tested)), caption)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..most, 0.0..top)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc("offered, per second")
        .y_desc("per second")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(QUIET)
        .draw()
        .map_err(drawing)?;
    let all = [(0.0, 0.0), (most.min(top), most.min(top))];
    let diagonal = chart.draw_series(LineSeries::new(all, QUIET.stroke_width(1))).map_err(drawing)?;
    diagonal.label("offered").legend(|at| key(at, QUIET));
    let lines: [Line; 2] =
        [("accepted", ACCEPTED, |step| step.accepted_rate), ("not accepted", REFUSED, refused)];
    for (label, color, value) in lines {
        let points = tested.steps.iter().map(|step| (step.offered, value(step).min(top)));
        let line = LineSeries::new(points, color.stroke_width(2)).point_size(3);
        chart.draw_series(line).map_err(drawing)?.label(label).legend(move |at| key(at, color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .draw()
        .map_err(drawing)
}

/// Its name; and its size, where logs of several sizes are compared.
fn title(tested: &Tested) -> String {
    match tested.findings.to_the_first.and(tested.entries_before) {
        Some(entries) => format!("{} from {entries} entries on", tested.name),
        None => tested.name.to_owned(),
    }
}

/// Requests that were refused, failed or were not sent, per second.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn refused(step: &Step) -> f64 {
    step.counts.due.saturating_sub(step.counts.accepted) as f64 / step.seconds
}

/// A line's sample in the legend.
fn key((x, y): (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2))
}

/// The range that a logarithmic axis shows: all values and some room, never empty.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        (low, high) = (low.min(value), high.max(value));
    }
    if high > 0.0 { (low / 1.5, high * 1.5) } else { (1.0, 10.0) }
}

/// 1,500 as `1.5k`.
fn short(value: f64) -> String {
    let (value, unit) = if value >= 1000.0 { (value / 1000.0, "k") } else { (value, "") };
    let digits = match value {
        small if small > 0.0 && small < 1.0 => 2,
        some if some < 10.0 && some.fract() != 0.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{unit}")
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the plot: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::report::tests::{PRIMITIVES, tested};
    use crate::report::{Machine, Offered, Tested};

    const OFFERED: Offered = Offered { arrivals: "even", in_flight: 1, timeout_seconds: 1.0, threads: 1 };

    fn report(tested: Vec<Tested>) -> Report {
        let machine = Machine { processor: "A & B <C>".to_owned(), cores: 2, load_average: Some(1.0) };
        let (began, against) = ("2026-01-01T00:00:00Z".to_owned(), "this machine".to_owned());
        Report { version: "0", began, against, machine, primitives: PRIMITIVES, load: OFFERED, tested }
    }

    /// Tags that are opened and closed again, in order: enough to tell well-formed from broken.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, rest) = part.split_once('>').expect("a tag ends");
            assert!(!rest.contains('>'), "a bare > in {rest}");
            let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closed in order");
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                open.push(name);
            }
            for entity in rest.split('&').skip(1) {
                assert!(
                    entity.split_once(';').is_some_and(|(name, _)| name.len() <= 4),
                    "a bare & in {rest}"
                );
            }
        }
        assert!(open.is_empty(), "{open:?} stay open");
    }

    #[test]
    fn the_plot_is_well_formed_and_shows_every_target() {
        let svg = svg(&report(vec![tested(), tested()])).unwrap();
        assert!(svg.starts_with("<svg"), "{}", &svg[..80]);
        assert_well_formed(&svg);
        assert_eq!(svg.matches("v2: latency").count(), 2);
        assert!(svg.contains("A &amp; B &lt;C&gt;"), "text is escaped");
        // A line for p50 and p99, and for offered, accepted, and not, each twice, and their samples in the legend.
        assert!(svg.matches("<polyline").count() >= 10, "{}", svg.matches("<polyline").count());
    }

    #[test]
    fn steps_without_an_answer_can_be_drawn() {
        let mut step = crate::report::tests::step(10.0, 0.0);
        step.latency_ms.max = 0.0;
        let nothing = Tested::new("v1", None, None, vec![step], &Ledger::default());
        assert_well_formed(&svg(&report(vec![nothing])).unwrap());
        assert_well_formed(&svg(&report(Vec::new())).unwrap());
    }

    #[test]
    fn labels_are_short() {
        let shown = [0.25, 0.5, 1.0, 2.5, 10.0, 500.0, 1500.0, 20_000.0].map(short);
        assert_eq!(shown, ["0.25", "0.50", "1", "2.5", "10", "500", "1.5k", "20k"]);
    }
}
