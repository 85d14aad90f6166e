//! Draws the state. Nothing else is looked at, so that tests see the same as a person.

use super::columns;
use super::figures::{duration, moment};
use super::state::{Failed, Live, State, WINDOW_SECS};
use super::words::{Tone, details, headline, state_tone, totals};
use crate::api::status::{ComponentStatus, TopologyStatus};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

/// Whether there are colours; without them the words say all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) is_coloured: bool,
}

/// Screens lower than this show no details.
const DETAILS_FROM_HEIGHT: u16 = 16;

const HELP: &str = "\
up, k / down, j    another component
Home, g / End, G   the first, the last
s                  sort: configuration, rate, errors, buffer
p                  pause, and go on
Ctrl-Z             to the shell; `fg` comes back
q, Esc, Ctrl-C     end

RECV/S, SENT/S     events a second that come in, and go on
ERR/S              what could not be read, processed or sent
LAG                from an event's own time to its delivery
BUFFER             how full it is";

impl Theme {
    fn style(self, tone: Tone) -> Style {
        let colour = |colour| if self.is_coloured { Style::new().fg(colour) } else { Style::new() };
        match tone {
            Tone::Good => colour(Color::Green),
            Tone::Warning => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Plain => Style::new(),
        }
    }
}

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, state: &State, theme: Theme) {
    let live = state.shown();
    let area = frame.area();
    let has_details = area.height >= DETAILS_FROM_HEIGHT;
    let rows = state.rows();
    // The details get what the table leaves, and at least a good third.
    let details_height = match has_details {
        true => (area.height.saturating_sub(5 + 1 + 1 + rows.len() as u16)).max(area.height * 2 / 5),
        false => 0,
    };
    let [header, body, below, footer] = Layout::vertical([
        Constraint::Length(if has_details { 5 } else { 4 }),
        Constraint::Min(2),
        Constraint::Length(details_height),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_footer(frame, footer, state);
    match &live.status {
        Some(status) => {
            draw_header(frame, header, state, live, status, theme);
            columns::draw(frame, body, state, &rows, theme);
            if let (true, Some(row)) = (has_details, rows.get(state.selected(&rows))) {
                draw_details(frame, below, row, live, theme);
            }
        }
        None => {
            let whole = Rect { height: area.height.saturating_sub(1), ..area };
            draw_nothing(frame, whole, state, live, theme);
        }
    }
    if state.has_help {
        draw_help(frame, area);
    }
}

fn draw_header(
    frame: &mut Frame,
    area: Rect,
    state: &State,
    live: &Live,
    status: &TopologyStatus,
    theme: Theme,
) {
    let mut title = vec![
        Span::styled("log-shipper", BOLD),
        Span::raw(format!(" {}  {}  up {}", status.version, state.url, duration(status.uptime_secs.floor()))),
    ];
    if let Some(ago) = live.restarted_secs_ago() {
        let text = format!("  started again {} ago", duration(ago.floor()));
        title.push(Span::styled(text, theme.style(Tone::Warning)));
    }
    if state.is_paused() {
        title.push(Span::styled("  PAUSED", BOLD));
    }
    let (tone, text, advice) = match &live.failed {
        Some((failed, secs)) => (Tone::Bad, silence(failed, *secs), failed.advice.clone()),
        None => {
            let headline = headline(&status.health, live.now);
            (headline.tone, headline.text, headline.advice)
        }
    };
    let lost = if status.totals.lost > 0 { theme.style(Tone::Bad) } else { Style::new() };
    let (mut sums, mut width) = (Vec::new(), 0);
    for (index, sum) in totals(live, status).into_iter().enumerate() {
        // Half a figure is worse than none.
        let sum = match index {
            0 => Span::styled(sum, lost),
            _ => Span::raw(format!("   {sum}")),
        };
        width += sum.width();
        if width > usize::from(area.width) {
            break;
        }
        sums.push(sum);
    }
    let mut lines = vec![Line::from(title), Line::from(Span::styled(text, theme.style(tone)))];
    if !advice.is_empty() {
        lines.push(Line::from(format!("  {advice}")));
    }
    let [top, bottom] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    // What does not fit beside goes below, as far as there is room.
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), top);
    frame.render_widget(Line::from(sums), bottom);
}

/// That there is no answer, and since when.
fn silence(failed: &Failed, secs: f64) -> String {
    match secs as u64 {
        0 => format!("NO ANSWER: {}", failed.error),
        _ => format!("NO ANSWER for {}: {}", duration(secs.floor()), failed.error),
    }
}

/// Before the first answer.
fn draw_nothing(frame: &mut Frame, area: Rect, state: &State, live: &Live, theme: Theme) {
    let mut lines =
        vec![Line::from(vec![Span::styled("log-shipper top", BOLD), Span::raw(format!("  {}", state.url))])];
    match &live.failed {
        None => lines.push(Line::from("asking ...")),
        Some((failed, secs)) => {
            let text = silence(failed, *secs);
            lines.push(Line::default());
            lines.push(Line::from(Span::styled(text, theme.style(Tone::Bad))));
            lines.push(Line::default());
            lines.push(Line::from(format!("It was looked for at {}/api/status.", state.url)));
            lines.push(Line::from(format!("What to do: {}", failed.advice)));
            lines.push(Line::default());
            let each = duration(state.interval_secs);
            lines.push(Line::from(format!("It is tried again every {each}, until it answers.")));
        }
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn draw_details(frame: &mut Frame, area: Rect, component: &ComponentStatus, live: &Live, theme: Theme) {
    let title = format!(" {} {} ({}) ", component.kind, component.id, component.component_type);
    let block = Block::new().borders(ratatui::widgets::Borders::TOP).title(Span::styled(title, BOLD));
    let field = |name: &str, text: String, tone: Tone| {
        Line::from(vec![Span::styled(format!("{name:<11}"), DIM), Span::styled(text, theme.style(tone))])
    };
    let since = component.since.as_ref().map(|since| format!(" since {}", moment(since, live.now)));
    let state = format!("{}{}", component.state, since.unwrap_or_default());
    let mut lines = vec![field("state", state, state_tone(&component.state))];
    if let Some(trouble) = &component.trouble {
        let is_now = component.state == "failing";
        let tone = if is_now { Tone::Bad } else { Tone::Warning };
        let text = format!("{}: {}", moment(&trouble.at, live.now), trouble.text);
        lines.push(field("trouble", text, tone));
        if !trouble.advice.is_empty() {
            lines.push(field("what to do", trouble.advice.clone(), Tone::Plain));
        }
    }
    lines.extend(details(component, live.now).into_iter().map(|(name, text, tone)| field(name, text, tone)));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn draw_footer(frame: &mut Frame, area: Rect, state: &State) {
    let pause = if state.is_paused() { "go on" } else { "pause" };
    let text = format!(
        "q quit   j/k select   s sort: {}   p {pause}   ? help   bars: {} min",
        state.sort.name(),
        WINDOW_SECS / 60.0
    );
    frame.render_widget(Line::styled(text, DIM), area);
}

fn draw_help(frame: &mut Frame, area: Rect) {
    let text = Text::from(HELP);
    let width = (text.width() as u16 + 4).min(area.width);
    let height = (text.height() as u16 + 2).min(area.height);
    let inside =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, inside);
    let block = Block::bordered().title(" keys ").padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Paragraph::new(text).block(block), inside);
}

impl Theme {
    /// The style of a cell.
    pub(super) fn cell(self, tone: Tone) -> Style {
        self.style(tone)
    }
}
