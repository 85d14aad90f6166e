//! What was measured, as tables for people.

use crate::measure::Measurement;

/// A row of the table: one scenario, or the baseline, in all rounds.
pub struct Series {
    pub name: &'static str,
    pub rounds: Vec<Measurement>,
}

impl Series {
    fn values(&self, value: fn(&Measurement) -> f64) -> (f64, f64) {
        min_and_median(self.rounds.iter().map(value).collect())
    }
}

/// What a run showed, in one line.
pub fn line(measurement: &Measurement) -> String {
    let mut line = format!(
        "{:>7.2} CPU s/M {:>9.0} events/s {:>7.1} MiB {:>7.1} bytes/event",
        measurement.cpu, measurement.rate, measurement.memory, measurement.bytes
    );
    if measurement.dropped > 0 {
        line += &format!(", dropped {}", measurement.dropped);
    }
    line
}

/// The table of costs.
pub fn table(scenarios: &[Series], baseline: &Series) -> String {
    let mut text = format!(
        "{:<20} {:>13} {:>6} {:>17} {:>13} {:>15}\n",
        "min / median", "CPU s/M", "ratio", "events/s", "peak RSS MiB", "bytes/event"
    );
    let (_, base) = baseline.values(|m| m.cpu);
    for series in scenarios.iter().chain([baseline]) {
        let (cpu, rate, memory, bytes) = (
            series.values(|m| m.cpu),
            series.values(|m| m.rate),
            series.values(|m| m.memory),
            series.values(|m| m.bytes),
        );
        text += &format!(
            "{:<20} {:>5.2} / {:>5.2} {:>6.2} {:>7.0} / {:>7.0} {:>5.1} / {:>5.1} {:>6.1} / {:>6.1}\n",
            series.name,
            cpu.0,
            cpu.1,
            cpu.1 / base,
            rate.0,
            rate.1,
            memory.0,
            memory.1,
            bytes.0,
            bytes.1
        );
    }
    text
}

fn min_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let upper = values[values.len() / 2];
    let lower = values[(values.len() - 1) / 2];
    (values[0], f64::midpoint(lower, upper))
}
