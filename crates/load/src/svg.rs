//! Charts as SVG, without a drawing library: groups of bars, and lines over a
//! logarithmic plane. Text is escaped; sizes are fixed; colours can be told
//! apart by those who do not see red and green differently (Okabe and Ito).

use std::fmt::Write;

const COLOURS: [&str; 8] = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"];
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 50.0;

/// Bars in groups: one group per label, one bar per series.
#[derive(Clone, Debug)]
pub struct Bars<'a> {
    /// What stands above.
    pub title: &'a str,
    /// The unit of the values.
    pub unit: &'a str,
    /// The groups, from left to right.
    pub groups: Vec<&'a str>,
    /// Each series: its name, and one value per group (none where there is none).
    pub series: Vec<(&'a str, Vec<Option<f64>>)>,
    /// Whether the axis is logarithmic.
    pub logarithmic: bool,
}

/// Lines over a rate and a time, both logarithmic.
#[derive(Clone, Debug)]
pub struct Plane<'a> {
    /// What stands above.
    pub title: &'a str,
    /// What the axes are.
    pub axes: [&'a str; 2],
    /// Each line: its name, and its points.
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// An axis from a value to a place.
struct Axis {
    low: f64,
    high: f64,
    /// The places of both, in units of the picture.
    ends: [f64; 2],
    logarithmic: bool,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, ends: [f64; 2], logarithmic: bool) -> Self {
        let usable = values.filter(|v| v.is_finite() && *v > 0.0);
        let (low, high) = usable.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if high > 0.0 { (low, high) } else { (1.0, 10.0) };
        if logarithmic {
            // Whole decades, at least one.
            let (from, to) = (low.log10().floor(), high.log10().ceil());
            Self { low: 10_f64.powf(from), high: 10_f64.powf(to.max(from + 1.0)), ends, logarithmic }
        } else {
            let step = step(high);
            Self { low: 0.0, high: (high / step).ceil() * step, ends, logarithmic }
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            value / self.high
        };
        self.ends[0] + (self.ends[1] - self.ends[0]) * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|n| self.low * 10_f64.powi(n)).collect();
        }
        let step = step(self.high);
        let count = (self.high / step).round() as u32;
        (0..=count).map(|n| f64::from(n) * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that an axis has four to ten steps.
fn step(high: f64) -> f64 {
    let power = 10_f64.powf(high.log10().floor());
    let steps = [0.1, 0.2, 0.5, 1.0].map(|s| s * power);
    steps.into_iter().find(|step| high / step <= 8.0).unwrap_or(power)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number on an axis: `2.5 M`.
fn number(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, " G"),
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    let text = format!("{value:.2}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// The frame, the title and the legend.
fn begin(title: &str, names: &[&str]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"16\">{}</text>\n",
        escape(title)
    );
    let mut x = LEFT;
    for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"46\">{}</text>",
            x + 17.0,
            escape(name)
        );
        x += 34.0 + 7.0 * name.chars().count() as f64;
    }
    svg
}

/// The lines and labels of the upright axis.
fn upright(svg: &mut String, axis: &Axis, unit: &str) {
    for tick in axis.ticks() {
        let y = axis.at(tick);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            number(tick)
        );
    }
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", TOP - 8.0, escape(unit));
}

impl Bars<'_> {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> String {
        let names: Vec<&str> = self.series.iter().map(|(name, _)| *name).collect();
        let mut svg = begin(self.title, &names);
        let values = self.series.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let axis = Axis::new(values, [HEIGHT - BOTTOM, TOP], self.logarithmic);
        upright(&mut svg, &axis, self.unit);
        let group = (WIDTH - LEFT - RIGHT) / self.groups.len().max(1) as f64;
        let bar = group * 0.85 / self.series.len().max(1) as f64;
        for (place, label) in self.groups.iter().enumerate() {
            let x = LEFT + group * place as f64;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x + group / 2.0,
                HEIGHT - BOTTOM + 20.0,
                escape(label)
            );
            for (number_of, ((name, values), colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
                let Some(value) = values.get(place).copied().flatten().filter(|v| v.is_finite()) else { continue };
                let (top, bottom) = (axis.at(value), HEIGHT - BOTTOM);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\">\
                     <title>{}: {}</title></rect>",
                    x + group * 0.075 + bar * number_of as f64,
                    bar * 0.92,
                    bottom - top,
                    escape(name),
                    number(value)
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Plane<'_> {
    /// The chart.
    #[must_use]
    pub fn draw(&self) -> String {
        let names: Vec<&str> = self.lines.iter().map(|(name, _)| *name).collect();
        let mut svg = begin(self.title, &names);
        let points = || self.lines.iter().flat_map(|(_, points)| points.iter());
        let across = Axis::new(points().map(|p| p.0), [LEFT, WIDTH - RIGHT], true);
        let axis = Axis::new(points().map(|p| p.1), [HEIGHT - BOTTOM, TOP], true);
        upright(&mut svg, &axis, self.axes[1]);
        for tick in across.ticks() {
            let (x, y) = (across.at(tick), HEIGHT - BOTTOM + 18.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>", number(tick));
        }
        let y = HEIGHT - 10.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            escape(self.axes[0])
        );
        for ((_, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let mut sorted: Vec<&(f64, f64)> = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            let path: Vec<String> =
                sorted.iter().map(|(x, y)| format!("{:.1},{:.1}", across.at(*x), axis.at(*y))).collect();
            let path = path.join(" ");
            let _ = writeln!(svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: Vec<Option<f64>>, logarithmic: bool) -> String {
        let groups = ["16 B", "128 B"].to_vec();
        Bars { title: "a < b & c", unit: "events/s", groups, series: vec![("Weft", values)], logarithmic }.draw()
    }

    #[test]
    fn twice_the_value_is_twice_the_bar() {
        let svg = bars(vec![Some(4e6), Some(2e6)], false);
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("<title>Weft"))
            .filter_map(|line| line.split("height=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        let [four, two] = heights[..] else { panic!("{svg}") };
        assert!((four / two - 2.0).abs() < 0.01, "{heights:?}");
        assert!(svg.contains("a &lt; b &amp; c"));
    }

    #[test]
    fn axes_are_round_numbers() {
        let linear = Axis::new([2.9e6].into_iter(), [0.0, 1.0], false);
        assert_eq!((linear.low, linear.high), (0.0, 3e6));
        let logarithmic = Axis::new([30.0, 4_000.0].into_iter(), [0.0, 1.0], true);
        assert_eq!(logarithmic.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
    }

    #[test]
    fn values_that_cannot_be_drawn_are_left_out() {
        for values in [vec![], vec![None, Some(f64::NAN)], vec![Some(0.0), Some(f64::INFINITY)]] {
            for logarithmic in [false, true] {
                let svg = bars(values.clone(), logarithmic);
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        let empty = Plane { title: "", axes: ["", ""], lines: vec![("a", vec![(0.0, 1.0)])] }.draw();
        assert!(!empty.contains("NaN"));
    }
}
