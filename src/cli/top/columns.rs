//! The table of components: as many columns as there is room for.

use super::figures::{rate, short_duration};
use super::state::{State, fill};
use super::view::Theme;
use super::words::{Tone, percent, state_tone};
use crate::api::status::ComponentStatus;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Text;
use ratatui::widgets::{Cell, HighlightSpacing, Row, Table, TableState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Kind,
    Id,
    Type,
    State,
    Received,
    Sent,
    Errors,
    Lag,
    Buffer,
    Trail,
}

/// From left to right.
const ALL: [Column; 10] = [
    Column::Kind,
    Column::Id,
    Column::Type,
    Column::State,
    Column::Received,
    Column::Sent,
    Column::Errors,
    Column::Lag,
    Column::Buffer,
    Column::Trail,
];

/// The last goes first where there is no room.
const BY_IMPORTANCE: [Column; 10] = [
    Column::Id,
    Column::State,
    Column::Sent,
    Column::Received,
    Column::Errors,
    Column::Buffer,
    Column::Kind,
    Column::Lag,
    Column::Trail,
    Column::Type,
];

const LONGEST_ID: usize = 40;
const WIDEST_BUFFER: u16 = 15;
const WIDEST_TRAIL: u16 = 60;

impl Column {
    fn title(self) -> &'static str {
        match self {
            Column::Kind => "KIND",
            Column::Id => "ID",
            Column::Type => "TYPE",
            Column::State => "STATE",
            Column::Received => "RECV/S",
            Column::Sent => "SENT/S",
            Column::Errors => "ERR/S",
            Column::Lag => "LAG",
            Column::Buffer => "BUFFER",
            Column::Trail => "5 MIN",
        }
    }

    /// How much it takes at least.
    fn width(self) -> u16 {
        match self {
            Column::Kind => 9,
            Column::Id => 12,
            Column::Type => 20,
            Column::State | Column::Buffer | Column::Trail => 8,
            Column::Received | Column::Sent => 7,
            Column::Errors | Column::Lag => 5,
        }
    }

    fn alignment(self) -> Alignment {
        match self {
            Column::Received | Column::Sent | Column::Errors | Column::Lag => Alignment::Right,
            _ => Alignment::Left,
        }
    }
}

/// The columns that fit, with their widths.
fn fitting(width: u16, longest_id: usize) -> Vec<(Column, u16)> {
    // The marker of the selected row and, behind each column but the last, a blank.
    let mut left = width;
    let mut chosen = Vec::new();
    for column in BY_IMPORTANCE {
        let Some(rest) = left.checked_sub(column.width() + 1) else { break };
        left = rest;
        chosen.push(column);
    }
    let mut widths: Vec<_> = ALL
        .into_iter()
        .filter(|column| chosen.contains(column))
        .map(|column| (column, column.width()))
        .collect();
    // What is left makes ids, bars and trails longer.
    let mut grow = |column: Column, to: u16| {
        if let Some((_, width)) = widths.iter_mut().find(|(own, _)| *own == column) {
            let more = to.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    };
    grow(Column::Id, longest_id.min(LONGEST_ID) as u16);
    grow(Column::Buffer, WIDEST_BUFFER);
    grow(Column::Trail, WIDEST_TRAIL);
    widths
}

/// Draws the table.
pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State, rows: &[&ComponentStatus], theme: Theme) {
    let longest_id = rows.iter().map(|row| Text::raw(row.id.as_str()).width()).max().unwrap_or(0);
    let columns = fitting(area.width, longest_id);
    let is_stale = state.shown().failed.is_some();
    let table_rows = rows.iter().map(|component| {
        let cells = columns.iter().map(|&(column, width)| {
            let (text, tone) = content(column, width, component, state);
            Cell::new(Text::styled(text, theme.cell(tone)).alignment(column.alignment()))
        });
        let row = Row::new(cells.collect::<Vec<_>>());
        if is_stale { row.style(Style::new().add_modifier(Modifier::DIM)) } else { row }
    });
    let header = columns.iter().map(|(column, _)| Text::raw(column.title()).alignment(column.alignment()));
    let table = Table::new(table_rows, columns.iter().map(|(_, width)| Constraint::Length(*width)))
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
        .column_spacing(1)
        .highlight_symbol(">")
        .highlight_spacing(HighlightSpacing::Always)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selected = TableState::new().with_selected(Some(state.selected(rows)));
    frame.render_stateful_widget(table, area, &mut selected);
}

fn content(column: Column, width: u16, component: &ComponentStatus, state: &State) -> (String, Tone) {
    let plain = |text: String| (text, Tone::Plain);
    match column {
        Column::Kind => plain(component.kind.clone()),
        Column::Id => plain(component.id.clone()),
        Column::Type => plain(component.component_type.clone()),
        Column::State => (component.state.clone(), state_tone(&component.state)),
        Column::Received => plain(rate(component.rates.received)),
        Column::Sent => plain(rate(component.rates.sent)),
        Column::Errors => {
            let tone = if component.rates.errors > 0.0 { Tone::Bad } else { Tone::Plain };
            (rate(component.rates.errors), tone)
        }
        Column::Lag => plain(component.lag_secs.map(short_duration).unwrap_or_default()),
        Column::Buffer => {
            let fill = fill(component);
            let tone = match fill {
                Some(0.9..) => Tone::Bad,
                Some(0.5..) => Tone::Warning,
                _ => Tone::Plain,
            };
            let percent = percent(component).unwrap_or_default();
            let text = fill.map(|fill| format!("{}{percent:>4}", bar(fill, width.saturating_sub(4))));
            (text.unwrap_or_default(), tone)
        }
        Column::Trail => plain(trail(&state.shown().trail(component, usize::from(width)))),
    }
}

/// A bar of blocks, in eighths.
fn bar(fill: f64, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (fill.clamp(0.0, 1.0) * f64::from(width) * 8.0).round() as usize;
    let text = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).unwrap_or(&""));
    let missing = usize::from(width).saturating_sub(text.chars().count());
    text + &"·".repeat(missing)
}

/// Rates as bars, the highest as high as the line; blanks where nobody knows.
fn trail(rates: &[Option<f64>]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = rates.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |rate: &Option<f64>| match rate {
        None => ' ',
        Some(rate) if highest > 0.0 => {
            // Something is more than nothing: only 0 is the lowest bar.
            let step = (rate / highest * 7.0).ceil().clamp(0.0, 7.0) as usize;
            HEIGHTS.get(step).copied().unwrap_or('█')
        }
        Some(_) => HEIGHTS[0],
    };
    rates.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_importance_and_take_no_more_than_there_is() {
        for width in 0..=300 {
            let columns = fitting(width, 50);
            let total: u16 = columns.iter().map(|(_, width)| width + 1).sum();
            assert!(total <= width, "{columns:?} in {width}");
        }
        let names =
            |width| fitting(width, 5).into_iter().map(|(column, _)| column.title()).collect::<Vec<_>>();
        assert_eq!(names(29), ["ID", "STATE"]);
        assert_eq!(names(50), ["ID", "STATE", "RECV/S", "SENT/S", "ERR/S"]);
        assert_eq!(names(80).last(), Some(&"5 MIN"));
        assert!(!names(80).contains(&"TYPE"));
        assert_eq!(names(100).len(), ALL.len());
    }

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!(bar(0.0, 4), "····");
        assert_eq!(bar(0.5, 4), "██··");
        assert_eq!(bar(0.53, 4), "██▏·");
        assert_eq!(bar(7.0, 4), "████");
        assert_eq!(trail(&[None, Some(0.0), Some(0.001), Some(50.0), Some(100.0)]), " ▁▂▅█");
        assert_eq!(trail(&[Some(0.0), None]), "▁ ");
    }
}
