//! Small panels of lines over time, as SVG. A crate for plots would bring more than these lines for
//! four panels without interaction (docs/dependencies.md). An axis must never begin above zero: growth
//! is to be seen as a part of the whole.

use std::fmt::Write as _;

/// Panels beside each other.
const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 480.0;
const PANEL_HEIGHT: f64 = 260.0;
/// Around the lines of a panel: left, top, right, bottom.
const MARGINS: (f64, f64, f64, f64) = (56.0, 44.0, 16.0, 40.0);
/// Lines of a panel, told apart by colour and by dashes.
const STROKES: [(&str, &str); 3] = [("#1f5fa8", "none"), ("#c2571a", "none"), ("#5b6b5b", "5 3")];
/// Parts of an axis, about.
const TICKS: f64 = 5.0;

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What it shows, with the unit.
    pub title: &'static str,
    /// Its lines, at most as many as there are strokes.
    pub traces: Vec<Trace>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What it is of.
    pub name: &'static str,
    /// Minutes and values.
    pub points: Vec<(f64, f64)>,
}

/// The whole picture; `warm_up` minutes at the beginning are shaded.
pub fn svg(panels: &[Panel], warm_up: f64) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL_WIDTH * COLUMNS as f64, PANEL_HEIGHT * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let (x, y) =
            ((number % COLUMNS) as f64 * PANEL_WIDTH, (number / COLUMNS) as f64 * PANEL_HEIGHT);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        draw(&mut out, panel, warm_up);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// Where values are on paper.
struct Scale {
    step: f64,
    top: f64,
    start: f64,
    length: f64,
}

impl Scale {
    /// From zero to `most`, in round steps.
    fn new(most: f64, start: f64, length: f64) -> Self {
        let step = round_step(most.max(f64::MIN_POSITIVE) / TICKS);
        Self { step, top: (most / step).ceil().max(1.0) * step, start, length }
    }

    /// The same, ending at `most` itself.
    fn ending_at(most: f64, start: f64, length: f64) -> Self {
        Self { top: most.max(f64::MIN_POSITIVE), ..Self::new(most, start, length) }
    }

    fn at(&self, value: f64) -> f64 {
        self.start + self.length * value / self.top
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, top) = (self.step, self.top);
        (0..).map(move |tick| f64::from(tick) * step).take_while(move |tick| *tick <= top * 1.001)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that isn't below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(least)
}

fn draw(out: &mut String, panel: &Panel, warm_up: f64) {
    let (left, above, right, below) = MARGINS;
    let (width, bottom) = (PANEL_WIDTH - left - right, PANEL_HEIGHT - below);
    let points = || panel.traces.iter().flat_map(|trace| &trace.points);
    let minutes = points().map(|point| point.0).fold(0.0, f64::max);
    let most = points().map(|point| point.1).fold(0.0, f64::max);
    let time = Scale::ending_at(minutes, left, width);
    let value = Scale::new(most, bottom, above - bottom);
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"18\" font-size=\"13\" font-weight=\"bold\">{}</text>\n\
         <rect x=\"{left}\" y=\"{above}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#eee\"/>",
        panel.title,
        time.at(warm_up.min(minutes)) - left,
        bottom - above
    );
    for tick in value.ticks() {
        let y = value.at(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + width,
            left - 6.0,
            y + 4.0,
            number(tick, value.step)
        );
    }
    for tick in time.ticks() {
        let x = time.at(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {bottom}v4\" stroke=\"#333\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            number(tick, time.step)
        );
    }
    let _ = writeln!(
        out,
        "<path d=\"M{left} {above}V{bottom}H{:.1}\" fill=\"none\" stroke=\"#333\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">minutes (shaded: warm-up)</text>",
        left + width,
        left + width / 2.0,
        bottom + 32.0
    );
    for (place, (trace, (colour, dashes))) in panel.traces.iter().zip(STROKES).enumerate() {
        let corners =
            trace.points.iter().map(|(x, y)| format!("{:.1},{:.1}", time.at(*x), value.at(*y)));
        let corners: Vec<String> = corners.collect();
        let x = left + place as f64 * 130.0;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" stroke-dasharray=\"{dashes}\"/>\n\
             <path d=\"M{x:.1} 32h18\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{:.1}\" y=\"36\">{}</text>",
            corners.join(" "),
            x + 23.0,
            trace.name
        );
    }
}

/// With as many decimals as the step between two ticks has.
fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_is_closed_and_every_point_inside() {
        let wave =
            |count: usize| (0..count).map(|at| (at as f64 / 6.0, 40.0 + (at % 7) as f64)).collect();
        let panel = |count| Panel {
            title: "Memory, MiB",
            traces: vec![
                Trace { name: "node", points: wave(count) },
                Trace { name: "view", points: wave(3) },
            ],
        };
        for count in [0, 1, 100] {
            let picture = svg(&[panel(count), panel(2), panel(9)], 3.0);
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
            let opened = picture.matches('<').count() - picture.matches("</").count();
            assert_eq!(opened, picture.matches("/>").count() + picture.matches("</").count());
            for name in ["svg", "g", "text"] {
                let (opens, closes) = (format!("<{name} "), format!("</{name}>"));
                assert_eq!(
                    picture.matches(&opens).count(),
                    picture.matches(&closes).count(),
                    "{name}"
                );
            }
            let lines =
                picture.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next());
            for point in lines.flat_map(str::split_whitespace) {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=PANEL_WIDTH).contains(&x) && (0.0..=PANEL_HEIGHT).contains(&y));
            }
        }
    }

    #[test]
    fn axes_have_round_steps_and_as_many_decimals() {
        for (least, expected) in [(0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (23.0, 50.0), (0.03, 0.05)] {
            assert!((round_step(least) - expected).abs() < 1e-9, "{least}: {}", round_step(least));
        }
        assert_eq!((number(2.0, 0.5), number(150.0, 50.0)), ("2.0".to_owned(), "150".to_owned()));
    }
}
