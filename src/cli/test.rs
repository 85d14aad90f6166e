//! `log-shipper test`: runs the `[[tests]]` of a configuration, as `vector test` does.

use super::config_args::ConfigArgs;
use super::run::block_on;
use super::{Failure, print_warnings};
use crate::config::{
    Config, InputKind, Registry, Result, SinkConfig, SinkContext, Source, SourceConfig, SourceContext,
    StreamSink, TestInput, TestOutput, TransformContext, UnitTest,
};
use crate::env::{Env, PLACEHOLDER};
use crate::event::{LogEvent, Path, Timestamp};
use crate::healthcheck::Healthcheck;
use crate::topology::{BufferReceiver, Outcome, Topology, TopologyOptions};
use crate::transforms::program::{Access, Program, time_zone};
use crate::transforms::split;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use vrl::value::{ObjectMap, Value};

/// `test`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper test vector.toml")]
pub(super) struct Args {
    /// Configuration files; the same as with -c.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    // Sinks do not run, so that their secrets need not be here.
    let env = env.with_placeholder(PLACEHOLDER);
    let config = args.config.and(&args.files);
    let load = || config.load(registry, &env, print_warnings);
    let tests = load()?.tests;
    if tests.is_empty() {
        return Err(Failure::Config("there is no [[tests]] in the configuration: nothing was tested".into()));
    }
    let mut failed = 0;
    println!("Running tests");
    for test in &tests {
        // Each test gets transforms of its own: some remember what they have seen.
        let config = load()?;
        let problems = block_on(NonZero::<usize>::MIN, async { Ok(run_test(test, config, &env).await) })?;
        println!("test {} ... {}", test.name, if problems.is_empty() { "passed" } else { "failed" });
        for problem in &problems {
            println!("  {}", problem.replace('\n', "\n  "));
        }
        failed += usize::from(!problems.is_empty());
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!("{failed} of {} tests failed", tests.len()))),
    }
}

/// What came out of each output.
type Extracted = Arc<Mutex<BTreeMap<String, Vec<LogEvent>>>>;

/// Runs a test over the transforms of this configuration; what is wrong.
async fn run_test(test: &UnitTest, config: Config, env: &Env) -> Vec<String> {
    let cx = TransformContext::new("", &config.global);
    let extracted: Extracted = Arc::default();
    let config = match isolate(test, config, &cx, &extracted) {
        Ok(config) => config,
        Err(problems) => return problems,
    };
    let options = TopologyOptions { env: env.clone(), ..TopologyOptions::default() };
    match Topology::start(config, &options, std::future::pending::<()>()).await {
        Ok(mut running) => running.finished().await,
        Err(error) => return vec![error.to_string()],
    }
    let extracted = extracted.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |name: &String| extracted.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut problems = Vec::new();
    for output in &test.outputs {
        let events: Vec<_> = output.extract_from.as_slice().iter().flat_map(of).collect();
        problems.extend(check(output, &events, &cx));
    }
    for name in &test.no_outputs_from {
        for event in of(name) {
            problems.push(format!("nothing should come out of `{name}`, but this did: {}", event.json()));
        }
    }
    problems
}

/// The transforms of the configuration, fed by the test's events alone, and with the outputs that the test
/// looks at collected.
fn isolate(
    test: &UnitTest,
    mut config: Config,
    cx: &TransformContext,
    extracted: &Extracted,
) -> Result<Config, Vec<String>> {
    let mut problems = Vec::new();
    let known: BTreeSet<String> = config
        .transforms
        .iter()
        .flat_map(|transform| transform.config.outputs().inputs(&transform.id))
        .collect();
    config.sources.clear();
    config.sinks.clear();
    config.global.healthchecks.enabled = false;
    for transform in &mut config.transforms {
        transform.inputs.retain(|input| known.contains(input));
    }
    // One source for all events that go to the same place, so that they keep their order.
    let mut events: BTreeMap<&String, Vec<LogEvent>> = BTreeMap::new();
    for input in test.all_inputs() {
        match event(input, cx) {
            Ok(made) => events.entry(&input.insert_at).or_default().extend(made),
            Err(problem) => problems.push(format!("input for `{}`: {problem}", input.insert_at)),
        }
    }
    for (insert_at, events) in events {
        let id = format!("test input of {insert_at}");
        match config.transforms.iter_mut().find(|transform| transform.id == *insert_at) {
            Some(transform) => transform.inputs.push(id.clone()),
            None => problems.push(format!("insert_at: no transform is called `{insert_at}`")),
        }
        config = config.source(&id, Events(Mutex::new(events)));
    }
    let looked_at = test.outputs.iter().flat_map(|output| output.extract_from.as_slice());
    for name in looked_at.chain(&test.no_outputs_from).collect::<BTreeSet<_>>() {
        if !known.contains(name) {
            problems.push(format!("no transform has an output `{name}`"));
            continue;
        }
        let collect = Collect { name: name.clone(), extracted: Arc::clone(extracted) };
        config = config.sink(&format!("test output of {name}"), &[name], collect);
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The events of an input.
fn event(input: &TestInput, cx: &TransformContext) -> Result<Vec<LogEvent>, String> {
    match input.kind {
        InputKind::Raw => {
            let value = input.value.as_ref().ok_or("value: missing; expected the event's message")?;
            Ok(vec![LogEvent::from_message(value.as_bytes(), Timestamp::now())])
        }
        InputKind::Vrl => {
            let source = input.source.as_ref().ok_or("source: missing; expected a program of VRL")?;
            run_program(source, cx)
        }
        InputKind::Log => {
            let mut event = LogEvent::from_message(b"", Timestamp::now());
            event.remove_root_fields(["message"].into_iter());
            for (path, value) in input.fields() {
                let path = Path::parse(path).map_err(|error| format!("log_fields: {error}"))?;
                let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
                event.value_mut().insert(&path.to_vrl(), Value::from(value));
            }
            Ok(vec![event])
        }
    }
}

/// The events that a program makes of an empty one.
fn run_program(source: &str, cx: &TransformContext) -> Result<Vec<LogEvent>, String> {
    let timezone = time_zone(cx.timezone.as_deref())?;
    let (mut program, _) = Program::compile(source, Access::ReadWrite, timezone)
        .map_err(|error| format!("source: it does not compile:\n{error}"))?;
    let mut event = LogEvent::from_value(Value::Object(ObjectMap::new()));
    match program.run(&mut event).map_err(|failure| format!("source: {}", failure.message()))? {
        None => Ok(vec![event]),
        Some(root) => Ok(split(event, root, &Path::root_field(&cx.log_schema.message_key))),
    }
}

/// Whether each condition of the output holds for one of its events; for each that does not, why.
fn check(output: &TestOutput, events: &[&LogEvent], cx: &TransformContext) -> Vec<String> {
    let names: Vec<_> = output.extract_from.as_slice().iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    if events.is_empty() {
        return vec![format!("nothing came out of {names}")];
    }
    let mut problems = Vec::new();
    for (index, condition) in output.conditions.iter().enumerate() {
        let option = format!("conditions[{index}]");
        let mut condition = match condition.build(&option, cx) {
            Ok(condition) => condition,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let explain =
            |event: &&LogEvent| Some(format!("{}\n    in {}", condition.explain(event).err()?, event.json()));
        let reasons: Vec<_> = events.iter().map_while(explain).collect();
        if reasons.len() == events.len() {
            problems.push(format!("{names}: {option}: {}", reasons.join("\n  ")));
        }
    }
    problems
}

/// A source of these events.
#[derive(Debug)]
struct Events(Mutex<Vec<LogEvent>>);

#[async_trait]
impl SourceConfig for Events {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let events = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Box::pin(async move {
            cx.output.send(events).await;
            Ok(())
        }))
    }
}

/// A sink that keeps events.
#[derive(Clone, Debug)]
struct Collect {
    name: String,
    extracted: Extracted,
}

impl SinkConfig for Collect {
    fn build(&self, _cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        Ok((Box::new(self.clone()), None))
    }
}

#[async_trait]
impl StreamSink for Collect {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        while let Some(events) = input.recv().await {
            let copies = events.iter().map(LogEvent::without_receipts);
            let mut extracted = self.extracted.lock().unwrap_or_else(PoisonError::into_inner);
            extracted.entry(self.name.clone()).or_default().extend(copies);
            drop(extracted);
            input.counts().settle_events(events, &Outcome::Delivered);
        }
        Ok(())
    }
}
