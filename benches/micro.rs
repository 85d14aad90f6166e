//! What each step of an event's way costs by itself, on a thousand events.
//!
//! ```text
//! cargo bench --bench micro
//! ```

mod workloads;

use divan::Bencher;
use divan::counter::ItemsCount;
use workloads::{EVENTS, workloads};

fn main() {
    divan::main();
}

#[divan::bench(args = names())]
fn a_thousand_events(bencher: Bencher, name: &str) {
    let work = workloads().into_iter().find(|work| work.name == name).expect("one of the list");
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| (work.run)());
}

fn names() -> Vec<&'static str> {
    workloads().iter().map(|work| work.name).collect()
}
