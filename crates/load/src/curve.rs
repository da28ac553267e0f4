//! A curve for a terminal: latency over rate, both logarithmic, in characters.

/// Points of one line: the rate in events a second, and a time in nanoseconds.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// What marks its points.
    pub mark: char,
    /// What it is, for the legend.
    pub name: &'a str,
    /// Its points, in any order; those that are not above zero are left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws the lines on a field of `width` times `height` characters (at least
/// 16 times 4), with the ends of both axes written at it. Where two lines meet,
/// the later one is seen. Empty when there is no point.
#[must_use]
pub fn draw(lines: &[Line<'_>], width: usize, height: usize) -> String {
    let (width, height) = (width.max(16), height.max(4));
    let good = |&&(x, y): &&(f64, f64)| x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite();
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|line| line.points.iter().filter(good).copied()).collect();
    if points.is_empty() {
        return String::new();
    }
    let (left, right) = bounds(points.iter().map(|p| p.0));
    let (low, high) = bounds(points.iter().map(|p| p.1));
    let mut field = vec![vec![' '; width]; height];
    for line in lines {
        for (x, y) in line.points.iter().filter(good) {
            let column = place(*x, left, right, width);
            let row = height - 1 - place(*y, low, high, height);
            if let Some(cell) = field.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = line.mark;
            }
        }
    }
    let labels = [crate::latency::show(high as u64), crate::latency::show(low as u64)];
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, row) in field.iter().enumerate() {
        let label = if number == 0 {
            &*labels[0]
        } else if number == height - 1 {
            &*labels[1]
        } else {
            ""
        };
        let row: String = row.iter().collect();
        text.push_str(&format!("{label:>margin$} │{}\n", row.trim_end()));
    }
    text.push_str(&format!("{:>margin$} └{}\n", "", "─".repeat(width)));
    let (from, to) = (rate(left), format!("{} events/s", rate(right)));
    let gap = width.saturating_sub(from.chars().count() + to.chars().count());
    text.push_str(&format!("{:>margin$}  {from}{}{to}\n", "", " ".repeat(gap)));
    let legend: Vec<String> = lines.iter().map(|line| format!("{} {}", line.mark, line.name)).collect();
    text.push_str(&format!("{:>margin$}  {}\n", "", legend.join("   ")));
    text
}

/// A rate for people: `10 k`, `2.5 M`.
#[must_use]
pub fn rate(events: f64) -> String {
    let (value, unit) = match events {
        e if e >= 1e6 => (e / 1e6, " M"),
        e if e >= 1e3 => (e / 1e3, " k"),
        e => (e, ""),
    };
    if value < 10.0 && !unit.is_empty() { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), high.max(value)))
}

/// The cell of `value` among `cells` between two bounds, logarithmic.
fn place(value: f64, low: f64, high: f64, cells: usize) -> usize {
    let span = (high / low).ln();
    if span <= 0.0 {
        return 0;
    }
    (((value / low).ln() / span) * (cells - 1) as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_line_stand_in_the_corners() {
        let points = vec![(1e3, 1e4), (1e4, 1e5), (1e5, 1e6)];
        let drawn = draw(&[Line { mark: '*', name: "p99", points }], 21, 5);
        let expected = "1.0 ms │                    *\n\
                        \x20      │\n\
                        \x20      │          *\n\
                        \x20      │\n\
                        \x2010 µs │*\n\
                        \x20      └─────────────────────\n\
                        \x20       1.0 k  100 k events/s\n\
                        \x20       * p99\n";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn nothing_and_single_points_are_drawn_too() {
        assert_eq!(draw(&[], 40, 10), "");
        assert_eq!(draw(&[Line { mark: '*', name: "", points: vec![(0.0, 1.0), (1.0, f64::NAN)] }], 40, 10), "");
        assert!(draw(&[Line { mark: '*', name: "", points: vec![(5.0, 7.0)] }], 1, 1).contains('*'));
    }
}
