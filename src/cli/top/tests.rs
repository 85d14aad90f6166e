//! Tests of `top`: what the state makes of answers, and what is drawn of it.

use super::state::{Action, Answer, Failed, Sort, State, key};
use super::url;
use super::view::{self, Theme};
use crate::api::status::{
    Buffer, ComponentStatus, Health, History, Rates, Reason, Series, TopologyStatus, Trouble,
};
use crate::env::Env;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use std::collections::BTreeMap;

const STARTED: &str = "2026-11-22T10:00:00Z";

fn component(kind: &str, id: &str, component_type: &str, received: f64, sent: f64) -> ComponentStatus {
    ComponentStatus {
        id: id.into(),
        kind: kind.into(),
        component_type: component_type.into(),
        state: "working".into(),
        since: Some(STARTED.into()),
        received: 12_345,
        sent: 12_300,
        rates: Rates { received, sent, errors: 0.0 },
        ..ComponentStatus::default()
    }
}

/// A source, a transform, a sink that works and one that fails.
fn status(now: &str) -> TopologyStatus {
    let memory =
        |bytes| Buffer { kind: "memory".into(), bytes, max_bytes: Some(8 << 20), ..Buffer::default() };
    TopologyStatus {
        version: "1.2.3".into(),
        now: now.into(),
        started: STARTED.into(),
        uptime_secs: 7260.5,
        health: Health { healthy: true, reasons: Vec::new() },
        totals: crate::api::status::Totals {
            received: 12_345,
            delivered: 12_300,
            buffered: 45,
            ..Default::default()
        },
        components: vec![
            ComponentStatus {
                inputs: vec!["clean".into()],
                buffer: Some(memory(4 << 20)),
                buffered: 45,
                lag_secs: Some(0.31),
                last_event: Some("2026-11-22T11:59:59Z".into()),
                ..component("sink", "loki", "loki", 500.0, 500.0)
            },
            ComponentStatus {
                state: "failing".into(),
                since: Some("2026-11-22T11:57:00Z".into()),
                inputs: vec!["clean".into()],
                buffer: Some(memory(8 << 20)),
                errors: 17,
                rejected: 2,
                dropped: BTreeMap::from([("buffer_full".into(), 1234), ("shutdown".into(), 0)]),
                held_batches: 3,
                trouble: Some(Trouble {
                    at: "2026-11-22T11:59:57Z".into(),
                    text: "401 Unauthorized: bad key".into(),
                    advice: "look at DATADOG_API_KEY".into(),
                }),
                rates: Rates { received: 500.0, sent: 0.0, errors: 2.5 },
                ..component("sink", "datadog", "datadog_logs", 0.0, 0.0)
            },
            component("transform", "clean", "remap", 500.0, 500.0),
            ComponentStatus {
                received_bytes: 3 << 20,
                pending: 7,
                disconnects: 1,
                ..component("source", "nats", "nats", 500.0, 500.0)
            },
        ],
        ..TopologyStatus::default()
    }
}

fn failing(now: &str) -> TopologyStatus {
    let reason = Reason {
        component: "sources.nats".into(),
        fatal: true,
        problem: "not connected to NATS: authorization violation".into(),
        since: Some("2026-11-22T11:58:00Z".into()),
        advice: "look at ACCESS_TOKEN".into(),
    };
    let other = Reason { component: "sinks.datadog".into(), problem: "401".into(), ..Reason::default() };
    TopologyStatus { health: Health { healthy: false, reasons: vec![other, reason] }, ..status(now) }
}

fn answer(status: TopologyStatus, elapsed_secs: f64) -> Answer {
    Answer { result: Ok(status), history: None, elapsed_secs }
}

fn silence(elapsed_secs: f64) -> Answer {
    let failed = Failed { error: "cannot connect: refused".into(), advice: "is it running?".into() };
    Answer { result: Err(failed), history: None, elapsed_secs }
}

fn state(status: TopologyStatus) -> State {
    let mut state = State::new("http://127.0.0.1:8686", 1.0);
    state.take(answer(status, 0.0));
    state
}

fn drawn(state: &State, width: u16, height: u16, is_coloured: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state, Theme { is_coloured })).unwrap();
    terminal
}

/// The screen as text, without blanks at the ends of lines.
fn text(state: &State, width: u16, height: u16) -> String {
    let terminal = drawn(state, width, height, true);
    let buffer = terminal.backend().buffer();
    let line =
        |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

fn has_colours(state: &State, is_coloured: bool) -> bool {
    let terminal = drawn(state, 120, 40, is_coloured);
    terminal
        .backend()
        .buffer()
        .content()
        .iter()
        .any(|cell| [Color::Red, Color::Green, Color::Yellow].contains(&cell.fg) || cell.bg != Color::Reset)
}

/// Compares with a file in `tests/golden/`; with `BLESS` in the environment of the build, the file is written anew.
#[track_caller]
fn check(name: &str, state: &State, width: u16, height: u16) {
    let path = format!("{}/tests/golden/top/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = text(state, width, height);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(text == expected, "{name} looks like this now (BLESS=1 writes it):\n{text}");
}

#[test]
fn the_screen_looks_as_it_should() {
    let mut flowing = state(status("2026-11-22T12:00:00Z"));
    flowing.take(answer(status("2026-11-22T12:00:30Z"), 30.0));
    check("flowing_80x24", &flowing, 80, 24);
    check("flowing_200x60", &flowing, 200, 60);
    check("flowing_40x12", &flowing, 40, 12);
    let mut failing = state(failing("2026-11-22T12:00:00Z"));
    // Source, transform, the sink that works, and the one that fails.
    failing.act(Action::Last);
    check("failing_80x24", &failing, 80, 24);
    check("failing_120x30", &failing, 120, 30);
    failing.act(Action::Help);
    check("help_80x24", &failing, 80, 24);
}

#[test]
fn silence_says_where_it_looked_and_what_to_do() {
    let mut state = State::new("http://shipper.internal:8686", 1.0);
    assert!(text(&state, 80, 24).contains("asking"));
    state.take(silence(0.0));
    state.take(silence(4.0));
    check("silent_80x24", &state, 80, 24);
    // With something to show, that stays, and is called old.
    let mut state = super::tests::state(status("2026-11-22T12:00:00Z"));
    state.take(silence(1.0));
    state.take(silence(2.0));
    let screen = text(&state, 80, 24);
    for expected in ["NO ANSWER for 2 s: cannot connect: refused", "is it running?", "datadog"] {
        assert!(screen.contains(expected), "{expected:?} is not on\n{screen}");
    }
    state.take(answer(status("2026-11-22T12:00:04Z"), 1.0));
    assert!(!text(&state, 80, 24).contains("NO ANSWER"));
}

#[test]
fn every_size_can_be_drawn() {
    let mut state = state(failing("2026-11-22T12:00:00Z"));
    let silent = State::new("http://127.0.0.1:8686", 1.0);
    for has_help in [false, true] {
        for width in [1, 2, 7, 20, 39, 40, 79, 80, 81, 132, 200, 400] {
            for height in [1, 2, 3, 5, 8, 15, 16, 24, 60, 100] {
                drawn(&state, width, height, true);
                drawn(&silent, width, height, true);
            }
        }
        state.has_help = !has_help;
    }
}

#[test]
fn a_hundred_components_scroll_to_the_selected_one() {
    let mut many = status("2026-11-22T12:00:00Z");
    many.components =
        (0..100).map(|number| component("sink", &format!("sink_{number:03}"), "http", 1.0, 1.0)).collect();
    let mut state = state(many);
    assert!(text(&state, 80, 24).contains(">sink      sink_000"));
    state.act(Action::Last);
    let screen = text(&state, 80, 24);
    assert!(screen.contains(">sink      sink_099") && !screen.contains("sink_050"), "{screen}");
    state.act(Action::Down);
    state.act(Action::Up);
    assert!(text(&state, 80, 24).contains(">sink      sink_098"));
    state.act(Action::First);
    assert!(text(&state, 80, 24).contains(">sink      sink_000"));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let state = state(failing("2026-11-22T12:00:00Z"));
    assert!(has_colours(&state, true));
    assert!(!has_colours(&state, false));
}

#[test]
fn a_failing_shipper_is_red_and_a_healthy_one_green() {
    let colour = |status| {
        let terminal = drawn(&state(status), 80, 24, true);
        terminal.backend().buffer()[(0, 1)].fg
    };
    assert_eq!(colour(status("2026-11-22T12:00:00Z")), Color::Green);
    assert_eq!(colour(failing("2026-11-22T12:00:00Z")), Color::Red);
    let mut partly = failing("2026-11-22T12:00:00Z");
    partly.health.healthy = true;
    assert_eq!(colour(partly), Color::Yellow);
}

#[test]
fn a_restart_is_said_and_gives_no_negative_rate() {
    let mut state = state(status("2026-11-22T12:00:00Z"));
    state.take(silence(1.0));
    let mut again = status("2026-11-22T12:00:05Z");
    again.started = "2026-11-22T12:00:04Z".into();
    again.components.iter_mut().for_each(|component| {
        (component.received, component.sent) = (0, 0);
        component.rates = Rates { received: -5.0, sent: -5.0, errors: -1.0 };
    });
    state.take(answer(again.clone(), 4.0));
    assert!(state.shown().restarted_secs_ago().is_some());
    assert!(text(&state, 80, 24).contains("started again 0 s ago"));
    let (received, sent, errors) = state.shown().total_rates();
    assert!([received, sent, errors].iter().all(|rate| *rate >= 0.0), "{received} {sent} {errors}");
    for component in state.rows() {
        let trail = state.shown().trail(component, 300);
        assert!(trail.iter().flatten().all(|rate| *rate >= 0.0), "{}: {trail:?}", component.id);
    }
    let screen = text(&state, 80, 24);
    assert!(!screen.contains("-5") && !screen.contains("-1"), "{screen}");
    again.now = "2026-11-22T12:02:00Z".into();
    state.take(answer(again, 115.0));
    assert!(!text(&state, 80, 24).contains("started again"));
}

#[test]
fn the_trail_goes_on_from_the_history_with_gaps_where_nobody_knows() {
    // 12:00:00 that day.
    let noon: i64 = 1_795_348_800;
    let mut first = status("2026-11-22T12:00:00Z");
    first.components.truncate(1);
    let series = Series { sent: vec![Some(10.0), None, Some(30.0)], ..Series::default() };
    let history = History {
        step_secs: 60,
        times: vec![noon - 120, noon - 60, noon],
        components: BTreeMap::from([("sinks.loki".into(), series)]),
    };
    let mut state = State::new("http://127.0.0.1:8686", 1.0);
    state.take(Answer { result: Ok(first.clone()), history: Some(history), elapsed_secs: 0.0 });
    let trail = |state: &State| {
        let rows = state.rows();
        state.shown().trail(rows[0], 5)
    };
    assert_eq!(trail(&state), [None, None, Some(10.0), None, Some(30.0)]);
    // A minute of silence, then a minute of 500.
    state.take(silence(60.0));
    first.now = "2026-11-22T12:02:00Z".into();
    state.take(answer(first.clone(), 60.0));
    assert_eq!(trail(&state), [Some(10.0), None, Some(30.0), None, Some(500.0)]);
    // What is older than the window is forgotten.
    first.now = "2026-11-22T13:00:00Z".into();
    state.take(answer(first, 60.0));
    assert_eq!(trail(&state), [None, None, None, None, Some(500.0)]);
}

#[test]
fn rows_are_sorted_within_their_kind_and_the_selection_stays() {
    let mut state = state(status("2026-11-22T12:00:00Z"));
    let ids = |state: &State| state.rows().iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&state), ["nats", "clean", "loki", "datadog"]);
    state.act(Action::Last);
    let mut seen = Vec::new();
    for _ in 0..4 {
        state.act(Action::Sort);
        seen.push(ids(&state));
        let rows = state.rows();
        assert_eq!(key(rows[state.selected(&rows)]), "sinks.datadog");
    }
    assert_eq!(seen[0], ["nats", "clean", "loki", "datadog"], "by rate");
    assert_eq!(seen[1], ["nats", "clean", "datadog", "loki"], "by errors");
    assert_eq!(seen[2], ["nats", "clean", "datadog", "loki"], "by buffer");
    assert_eq!(state.sort, Sort::Configuration);
    // A reload takes the selected one away.
    let mut fewer = status("2026-11-22T12:00:01Z");
    fewer.components.retain(|component| component.id != "datadog");
    state.take(answer(fewer, 1.0));
    assert_eq!(state.selected(&state.rows()), 0);
}

#[test]
fn a_pause_stops_the_picture_and_not_the_questions() {
    let mut state = state(status("2026-11-22T12:00:00Z"));
    state.act(Action::Pause);
    let before = text(&state, 80, 24);
    assert!(before.contains("PAUSED"));
    let mut later = status("2026-11-22T12:00:01Z");
    later.components[0].rates.sent = 7777.0;
    state.take(answer(later, 1.0));
    assert_eq!(text(&state, 80, 24), before);
    state.act(Action::Pause);
    assert!(text(&state, 80, 24).contains("7777"));
}

#[test]
fn escape_closes_the_help_first() {
    let mut state = state(status("2026-11-22T12:00:00Z"));
    assert!(state.act(Action::Help));
    assert!(state.act(Action::Back));
    assert!(!state.act(Action::Back));
    assert!(!state.act(Action::Quit));
}

#[test]
fn the_api_is_looked_for_where_it_listens() {
    let env = Env::from_pairs([("API_ADDRESS", "[::]:8687")]);
    assert_eq!(url(None, &env).unwrap().as_str(), "http://[::1]:8687/");
    assert_eq!(url(Some("http://a:1"), &env).unwrap().as_str(), "http://a:1/");
    assert_eq!(url(None, &Env::default()).unwrap().as_str(), "http://127.0.0.1:8686/");
    let off = url(None, &Env::from_pairs([("API_ADDRESS", "off")])).unwrap_err();
    assert!(format!("{off:?}").contains("API_ADDRESS is off"), "{off:?}");
    for wrong in [
        "nonsense",
        "8686",
        "http://",
        "ftp://a:1",
        "http://user:secret@a:1",
        "http://a:1/?x",
        "localhost:8686",
    ] {
        let error = format!("{:?}", url(Some(wrong), &Env::default()).unwrap_err());
        assert!(error.contains("Usage") && !error.contains("secret"), "{wrong}: {error}");
        assert!(error.contains("expected the API's URL, such as http://127.0.0.1:8686"), "{wrong}: {error}");
    }
}
