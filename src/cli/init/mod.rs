//! `log-shipper init`: a `fly.toml`, and the lines that set the app up.
//!
//! - this file: the arguments, and what becomes of them
//! - `answers`: what has to be known, from arguments and from questions
//! - `fly_toml`: the file
//! - `steps`: the lines

mod answers;
mod fly_toml;
mod steps;

use super::{Failure, print};
use answers::Answers;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// `init`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper init\n  log-shipper init --destination loki --app my-shipper --org my-org --yes\n\nNo secret is asked for, and none is written: the lines that are printed have places for them."
)]
pub(super) struct Args {
    /// A destination, by its name in `log-shipper providers`; may be given several times, and by comma.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    destination: Vec<String>,
    /// The name of the Fly.io app to be.
    #[arg(short, long)]
    app: Option<String>,
    /// The slug of the Fly.io organisation whose logs are shipped. Default: personal.
    #[arg(short, long)]
    org: Option<String>,
    /// Where the app runs: a region of three letters. Default: Fly.io chooses.
    #[arg(short, long)]
    region: Option<String>,
    /// What is shipped: `logs.<app>.<region>.<instance>`, with `*` and `>`; several by comma. Default: logs.>
    #[arg(short, long)]
    subject: Option<String>,
    /// The image to deploy. Default: it is built by the Dockerfile of the directory.
    #[arg(short, long)]
    image: Option<String>,
    /// Where fly.toml is written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Ask nothing, also at a terminal: what is not given has its default.
    #[arg(short, long)]
    yes: bool,
    /// Write over a fly.toml that is there.
    #[arg(short, long)]
    force: bool,
}

/// Writes `fly.toml` and prints what to run then.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.dir.join("fly.toml");
    if !args.force && path.exists() {
        return Err(exists(&path));
    }
    let mut stdin = std::io::stdin().lock();
    let can_ask = !args.yes && std::io::stdin().is_terminal();
    let mut ask = |prompt: &str| {
        eprint!("{prompt}");
        let mut line = String::new();
        Ok((stdin.read_line(&mut line)? > 0).then_some(line))
    };
    let answers = Answers::new(args, if can_ask { Some(&mut ask) } else { None })?;
    let text = fly_toml::text(&answers).map_err(Failure::Failed)?;
    write(&path, &text, args.force)?;
    eprintln!("log-shipper: wrote {}", path.display());
    if answers.image.is_none() && !args.dir.join("Dockerfile").exists() {
        eprintln!(
            "log-shipper: there is no Dockerfile in {}, which `fly deploy` builds: run it in a clone of log-shipper, or name an image with --image",
            args.dir.display()
        );
    }
    print(&steps::text(&answers, &args.dir))
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    match force {
        true => options.write(true).create(true).truncate(true),
        false => options.write(true).create_new(true),
    };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => Failure::Failed(format!("{}: {error}; expected a directory to write to", path.display())),
        }
    })
}

fn exists(path: &Path) -> Failure {
    Failure::Failed(format!("{} is there already; --force writes over it", path.display()))
}
