//! `log-shipper vrl`

use super::Failure;
use crate::event::{self, LogEvent, Timestamp};
use crate::transforms::program::{Access, Program, time_zone};
use crate::transforms::split;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use vrl::value::Value;

/// `vrl`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper vrl '.level = upcase!(.level)' --input events.jsonl\n  echo '{\"a\":1}' | log-shipper vrl '.b = del(.a)'\n  log-shipper vrl --null-input --print-result 'now()'"
)]
pub(super) struct Args {
    /// The program.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    program: Option<String>,
    /// A file that the program is in.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file of events, a JSON object a line; `-` is standard input. What is no object becomes an event's message.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Read nothing, and run the program on the event `{}`; also if standard input is a terminal.
    #[arg(short, long, conflicts_with = "input")]
    null_input: bool,
    /// The time zone of dates that name none: `local` or a name such as `Europe/Amsterdam`.
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,
    /// Print the value of the program's last expression, and not the event.
    #[arg(short = 'r', long)]
    print_result: bool,
}

/// Runs the program on each event, and prints what has become of it.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let source = match (&args.program, &args.file) {
        (Some(program), _) => program.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| Failure::Config(format!("{}: cannot be read: {error}", path.display())))?,
        (None, None) => String::new(),
    };
    let timezone = time_zone(args.timezone.as_deref())
        .map_err(|error| Failure::Config(format!("--timezone: {error}")))?;
    let (program, warnings) = Program::compile(&source, Access::ReadWrite, timezone)
        .map_err(|error| Failure::Config(format!("the program does not compile:\n{error}")))?;
    if let Some(warnings) = warnings {
        eprintln!("{warnings}");
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut playground = Playground { program, source, prints_result: args.print_result, failed: 0 };
    let stdin = std::io::stdin();
    let is_stdin = args.input == Path::new("-");
    if args.null_input || is_stdin && stdin.is_terminal() {
        playground.run(LogEvent::from_value(Value::Object(Default::default())), 1, &mut out)?;
    } else if is_stdin {
        playground.run_lines(stdin.lock(), &mut out)?;
    } else {
        let file = std::fs::File::open(&args.input)
            .map_err(|error| Failure::Failed(format!("{}: cannot be read: {error}", args.input.display())))?;
        playground.run_lines(BufReader::new(file), &mut out)?;
    }
    out.flush().map_err(Failure::failed)?;
    match playground.failed {
        0 => Ok(()),
        1 => Err(Failure::Failed("the program failed on an event; see above".to_owned())),
        failed => Err(Failure::Failed(format!("the program failed on {failed} events; see above"))),
    }
}

struct Playground {
    program: Program,
    source: String,
    prints_result: bool,
    /// On so many events the program ended before its time.
    failed: usize,
}

impl Playground {
    fn run_lines(&mut self, mut input: impl BufRead, out: &mut impl Write) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(Failure::failed)? == 0 {
                break;
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                let event = LogEvent::from_json(text.to_vec().into())
                    .unwrap_or_else(|text| LogEvent::from_message(&text, Timestamp::now()));
                self.run(event, number, out)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, mut event: LogEvent, line: usize, out: &mut impl Write) -> Result<(), Failure> {
        let done = match self.program.run_for_result(&mut event) {
            Ok(done) => done,
            Err(failure) => {
                self.failed += 1;
                eprintln!("line {line}: {}", failure.show(&self.source));
                return Ok(());
            }
        };
        let mut print = |text: &str| writeln!(out, "{text}").map_err(Failure::failed);
        match done.root {
            _ if self.prints_result => print(&serde_json::to_string(&done.result).map_err(Failure::failed)?),
            None => print(&event.json()),
            Some(root) => split(event, root, &event::Path::root_field("message"))
                .iter()
                .try_for_each(|event| print(&event.json())),
        }
    }
}
