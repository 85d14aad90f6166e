//! The terminal: the whole screen while it is open, and as it was before whatever ends it.

use super::state::Action;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long the thread that reads keys waits before it looks whether anybody still wants them.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The open screen. When it is dropped, or a panic unwinds, the terminal is what it was.
pub(super) struct Screen(DefaultTerminal);

/// What a person does.
pub(super) enum Input {
    Action(Action),
    /// To the shell.
    Suspend,
    /// The screen has another size, or anything else: it is to be drawn.
    Other,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Screen> {
        ratatui::try_init().map(Screen).inspect_err(|_| give_back())
    }

    /// Draws.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }

    /// Gives the terminal to the shell, until it lets us go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The whole group, as the terminal would: whoever started us may be more than a shell.
        let stopped = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        // A new one draws everything. To clear the old one would ask the terminal where its cursor is, and not every
        // terminal answers in time.
        self.0 = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        stopped.map_err(io::Error::from)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back. What cannot be written to it any more needs no care.
fn give_back() {
    ratatui::restore();
    let _ = execute!(io::stdout(), Show);
}

/// Reads keys in a thread of its own, as long as anybody wants them.
pub(super) fn inputs() -> UnboundedReceiver<io::Result<Input>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let read = match event::poll(LOOK_EVERY) {
                Ok(false) => continue,
                Ok(true) => event::read().map(input),
                Err(error) => Err(error),
            };
            let is_over = read.is_err();
            if sender.send(read).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

fn input(event: Event) -> Input {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => of_key(key),
        _ => Input::Other,
    }
}

fn of_key(key: KeyEvent) -> Input {
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Input::Action(match key.code {
        KeyCode::Char('c') if has_control => Action::Quit,
        KeyCode::Char('z') if has_control => return Input::Suspend,
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Esc => Action::Back,
        KeyCode::Up | KeyCode::Char('k') => Action::Up,
        KeyCode::Down | KeyCode::Char('j') => Action::Down,
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        _ => return Input::Other,
    })
}

#[cfg(test)]
#[path = "../../../tests/support/terminal.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod pseudo_terminal;

#[cfg(test)]
mod tests {
    use super::pseudo_terminal::PseudoTerminal;
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    /// Set for the process that panics.
    const PANICS: &str = "TEST_PANICS_AT_TERMINAL";

    /// The test starts itself once more, at a pseudo terminal, and panics there with the screen open.
    #[test]
    fn after_a_panic_the_terminal_is_what_it_was() {
        if std::env::var_os(PANICS).is_some() {
            let mut screen = Screen::open().expect("a terminal");
            screen
                .draw(|frame| frame.render_widget("the screen is open", frame.area()))
                .expect("it is drawn");
            panic!("on purpose");
        }
        let terminal = PseudoTerminal::open((80, 24));
        let (_, module) = module_path!().split_once("::").expect("a crate");
        let name = format!("{module}::after_a_panic_the_terminal_is_what_it_was");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args([&name, "--exact", "--nocapture"]).env(PANICS, "1").env("TERM", "xterm-256color");
        command.stdin(terminal.side()).stdout(terminal.side()).stderr(terminal.side());
        let mut child = command.spawn().expect("it starts");
        let until = Instant::now() + Duration::from_secs(20);
        let mut wait = |what: &str, look: &mut dyn FnMut() -> bool| {
            while !look() {
                if Instant::now() >= until {
                    let _ = child.kill();
                    panic!("no {what} in {:?}", terminal.said());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        wait("panic", &mut || terminal.said().contains("on purpose"));
        wait("old screen", &mut || terminal.is_given_back());
        let status = child.wait().expect("a status");
        assert!(!status.success() && !terminal.is_raw(), "{status}");
        let said = terminal.said();
        // What it says of the panic is on the screen that stays.
        let left = said.find("\u{1b}[?1049l").expect("it has left");
        assert!(said.find("on purpose").is_some_and(|at| at > left), "{said:?}");
    }
}
