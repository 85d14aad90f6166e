//! What was measured, for people.

use crate::baseline::BASELINE;
use crate::facts::Fact;
use crate::measure::Measurement;
use crate::scenarios::{NO_TARGETS, Scenario, Targets};
use std::iter::zip;

/// Everything that was measured.
pub struct Results {
    pub series: Vec<Series>,
    pub baseline: Vec<Measurement>,
    pub facts: Vec<Fact>,
}

/// One scenario in all rounds.
pub struct Series {
    pub scenario: &'static Scenario,
    pub ours: Vec<Measurement>,
    /// Empty, if there is no Vector here.
    pub vectors: Vec<Measurement>,
}

impl Series {
    pub fn new(scenario: &'static Scenario) -> Self {
        Self { scenario, ours: Vec::new(), vectors: Vec::new() }
    }
}

/// What a run showed, in one line.
pub fn line(measured: &Measurement) -> String {
    let Measurement { cpu, rate, memory, bytes, lost, repeated } = measured;
    let mut line =
        format!("{cpu:>6.2} CPU s/M {rate:>8.0} events/s {memory:>6.1} MiB {bytes:>7.1} bytes/event");
    if *lost > 0 || *repeated > 0 {
        line += &format!(", lost {lost}, repeated {repeated}");
    }
    line
}

/// Minimum and median of the rounds.
#[derive(Clone, Copy)]
struct Span {
    min: f64,
    median: f64,
}

impl Span {
    fn of(rounds: &[Measurement], value: fn(&Measurement) -> f64) -> Self {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Self { min: values[0], median: f64::midpoint(lower, upper) }
    }

    fn show(self, digits: usize) -> String {
        format!("{} / {}", number(self.min, digits), number(self.median, digits))
    }

    fn sum(spans: impl Iterator<Item = Span>) -> Self {
        let add = |sum: Span, span: Span| Self { min: sum.min + span.min, median: sum.median + span.median };
        spans.fold(Self { min: 0.0, median: 0.0 }, add)
    }
}

/// The figures of one program in one scenario.
#[derive(Clone, Copy)]
struct Figures {
    cpu: Span,
    /// Programs that run one after the other have no rate in common.
    rate: Option<Span>,
    memory: Span,
    /// The baseline sends nothing.
    bytes: Option<Span>,
}

impl Figures {
    /// `None` if there were no rounds.
    fn of(rounds: &[Measurement]) -> Option<Self> {
        (!rounds.is_empty()).then(|| Self {
            cpu: Span::of(rounds, |m| m.cpu),
            rate: Some(Span::of(rounds, |m| m.rate)),
            memory: Span::of(rounds, |m| m.memory),
            bytes: Some(Span::of(rounds, |m| m.bytes)),
        })
    }

    fn sum(all: &[Self]) -> Self {
        Self {
            cpu: Span::sum(all.iter().map(|figures| figures.cpu)),
            rate: None,
            memory: Span::sum(all.iter().map(|figures| figures.memory)),
            bytes: Some(Span::sum(all.iter().filter_map(|figures| figures.bytes))),
        }
    }
}

/// A row of the table of costs.
struct Row {
    name: String,
    targets: Targets,
    ours: Figures,
    vector: Option<Figures>,
}

impl Row {
    /// `None` if there were no rounds.
    fn new(series: &Series) -> Option<Self> {
        Some(Self {
            name: format!("`{}`", series.scenario.name),
            targets: series.scenario.targets,
            ours: Figures::of(&series.ours)?,
            vector: Figures::of(&series.vectors),
        })
    }

    /// What the scenarios cost separately that this one has at once; `None` if not all were measured.
    fn of_parts(series: &Series, results: &Results) -> Option<Self> {
        let parts = series.scenario.parts;
        let find = |name: &&str| results.series.iter().find(|other| other.scenario.name == *name);
        let rows: Vec<Row> = parts.iter().map(|name| Row::new(find(name)?)).collect::<Option<_>>()?;
        let ours: Vec<Figures> = rows.iter().map(|row| row.ours).collect();
        let vectors: Option<Vec<Figures>> = rows.iter().map(|row| row.vector).collect();
        (!parts.is_empty()).then(|| Self {
            name: format!("sum of {}", parts.join(", ")),
            targets: NO_TARGETS,
            ours: Figures::sum(&ours),
            vector: vectors.map(|vectors| Figures::sum(&vectors)),
        })
    }

    fn cells(&self, baseline: &Figures, has_vector: bool) -> Vec<String> {
        let Self { name, targets, ours, vector } = self;
        let mut cells = vec![
            name.clone(),
            ours.cpu.show(2),
            ratio(ours.cpu, baseline.cpu),
            target("≤", targets.cpu, 2),
            show(ours.rate, 0),
            target("≥", targets.rate, 0),
            ours.memory.show(1),
            ratio(ours.memory, baseline.memory),
            target("≤", targets.memory, 0),
            show(ours.bytes, 1),
        ];
        if has_vector {
            cells.extend(vector.map_or_else(Default::default, |vector| {
                [
                    vector.cpu.show(2),
                    ratio(vector.cpu, ours.cpu),
                    show(vector.rate, 0),
                    vector.memory.show(1),
                    ratio(vector.memory, ours.memory),
                    show(vector.bytes, 1),
                ]
            }));
        }
        cells
    }
}

const COLUMNS: [&str; 10] = [
    "min / median",
    "CPU s/M",
    "÷ baseline",
    "target",
    "events/s",
    "target",
    "peak RSS MiB",
    "÷ baseline",
    "target",
    "bytes/event",
];
const COLUMNS_OF_VECTOR: [&str; 6] = [
    "Vector CPU s/M",
    "÷ log-shipper",
    "Vector events/s",
    "Vector peak RSS MiB",
    "÷ log-shipper",
    "Vector bytes/event",
];

/// The table of costs, and what must be said about it and its scenarios; nothing, if none was measured.
pub fn costs(results: &Results) -> String {
    let Some(baseline) = Figures::of(&results.baseline) else { return String::new() };
    let baseline = Figures { bytes: None, ..baseline };
    let has_vector = results.series.iter().any(|series| !series.vectors.is_empty());
    let mut rows: Vec<Row> = results
        .series
        .iter()
        .flat_map(|series| [Row::new(series), Row::of_parts(series, results)])
        .flatten()
        .collect();
    rows.push(Row {
        name: format!("baseline: `{BASELINE}`"),
        targets: NO_TARGETS,
        ours: baseline,
        vector: None,
    });

    let vectors = if has_vector { COLUMNS_OF_VECTOR.as_slice() } else { &[] };
    let mut table = vec![COLUMNS.iter().chain(vectors).map(ToString::to_string).collect()];
    table.extend(rows.iter().map(|row| row.cells(&baseline, has_vector)));
    let losses: Vec<String> = results.series.iter().flat_map(losses).collect();
    let scenarios = results.series.iter().map(|Series { scenario, .. }| scenario);
    let abouts: Vec<String> =
        scenarios.map(|Scenario { name, about, .. }| format!("- `{name}`: {about}\n")).collect();
    format!("\n{}{}\nThe scenarios:\n\n{}", markdown(&table), losses.concat(), abouts.concat())
}

/// The facts as a list, each with its target if it has one; nothing, if none was measured.
pub fn facts(facts: &[Fact]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let line = |Fact { name, measured, target }: &Fact| match target.as_str() {
        "" => format!("- `{name}`: {measured}\n"),
        target => format!("- `{name}`: {measured} (target: {target})\n"),
    };
    let lines: String = facts.iter().map(line).collect();
    format!("\nMeasured once, with made-up events:\n\n{lines}")
}

/// What did not arrive exactly once, in sentences.
fn losses(series: &Series) -> Vec<String> {
    let count =
        |rounds: &[Measurement], value: fn(&Measurement) -> u64| rounds.iter().map(value).sum::<u64>();
    let name = series.scenario.name;
    let dropped = count(&series.ours, |m| m.lost);
    let (lost, repeated) = (count(&series.vectors, |m| m.lost), count(&series.vectors, |m| m.repeated));
    let mut sentences = Vec::new();
    if dropped > 0 {
        let dropped = number(dropped as f64, 0);
        sentences.push(format!(
            "\nIn `{name}`, log-shipper found its buffer full and dropped {dropped} events, which are in its books.\n"
        ));
    }
    if lost + repeated > 0 {
        let (lost, repeated) = (number(lost as f64, 0), number(repeated as f64, 0));
        sentences.push(format!(
            "\nIn `{name}`, Vector lost {lost} events and delivered {repeated} more than once.\n"
        ));
    }
    sentences
}

fn show(span: Option<Span>, digits: usize) -> String {
    span.map_or_else(String::new, |span| span.show(digits))
}

fn ratio(span: Span, base: Span) -> String {
    format!("{:.2}", span.median / base.median)
}

fn target(relation: &str, target: Option<f64>, digits: usize) -> String {
    target.map_or_else(String::new, |target| format!("{relation} {}", number(target, digits)))
}

/// The number with a comma between thousands.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, _)| (whole, &text[whole.len()..]));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// A table whose first row is its head, with columns of equal width, because people read it on a terminal
/// too.
fn markdown(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |cells: Vec<String>| format!("|{}|\n", cells.join("|"));
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| line(zip(row, &widths).map(|(cell, width)| format!(" {cell:<width$} ")).collect()))
        .collect();
    lines.insert(1, line(widths.iter().map(|width| "-".repeat(width + 2)).collect()));
    lines.concat()
}
