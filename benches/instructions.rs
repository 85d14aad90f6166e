//! How many instructions each step of an event's way takes: a check of speed that noise cannot fool.
//!
//! ```text
//! cargo bench --bench instructions            # compare with benches/instructions.txt
//! cargo bench --bench instructions -- --write # note the new counts there
//! ```
//!
//! It runs each piece of work in valgrind (`callgrind`), which counts the same for the same binary. It
//! ends with failure when one takes a tenth more than what is noted. Another compiler makes another
//! binary: then look at the differences, and note the new counts.

mod workloads;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use workloads::{EVENTS, Workload, workloads};

const NOTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const COUNTED: &str = "counted_work";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, name] = arguments.as_slice()
        && command == COUNTED
    {
        let work = workloads().into_iter().find(|work| work.name == name).expect("one of the list");
        // Once before, so that what is made at the first use is not counted.
        (work.run)();
        counted_work(&work);
        return ExitCode::SUCCESS;
    }
    // `cargo test --all-targets` runs this program too, without `--bench`.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("instructions are counted only under `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let counts: BTreeMap<_, _> = workloads().iter().map(|work| (work.name, count(work.name))).collect();
    if arguments.iter().any(|argument| argument == "--write") {
        let lines: String = counts.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        std::fs::write(NOTED, lines).expect("the notes can be written");
    }
    compare(&counts)
}

/// What callgrind counts, by its name.
#[inline(never)]
fn counted_work(work: &Workload) {
    (work.run)();
}

/// Instructions for an event.
fn count(name: &str) -> u64 {
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(program)
        .args([COUNTED, name])
        .output()
        .unwrap_or_else(|error| panic!("valgrind does not start ({error}); install it"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed:\n{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).expect("a count");
    let total: u64 = collected.1.trim().parse().expect("a number");
    assert!(total > 0, "{name}: nothing was counted; is {COUNTED} inlined?");
    total / EVENTS as u64
}

fn compare(counts: &BTreeMap<&str, u64>) -> ExitCode {
    let noted = std::fs::read_to_string(NOTED).expect("the notes can be read");
    let noted: BTreeMap<_, _> = noted.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut is_worse = false;
    println!("{:<30} {:>8} {:>8}", "instructions an event", "now", "noted");
    for (name, now) in counts {
        let before = noted.get(name).and_then(|count| count.parse::<u64>().ok());
        let is_more = before.is_none_or(|before| *now > before + before / 10);
        is_worse |= is_more;
        let noted = before.map_or("none".to_owned(), |count| count.to_string());
        println!("{name:<30} {now:>8} {noted:>8}{}", if is_more { "  MORE" } else { "" });
    }
    if is_worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
