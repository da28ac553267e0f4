//! What is on the terminal, and what keys do.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::sheets::{Column, Seen, Sheet, Tone, View, plain};

const KEYS: &str = "1-5 or Tab: view   up, down, page: rows   q: quit";
/// Rows that a page has, whatever fits: it overlaps then.
const PAGE: usize = 10;

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct Screen {
    view: View,
    /// Rows that are above the first that is shown.
    above: usize,
    seen: Option<Seen>,
    /// Why the last look failed.
    trouble: Option<String>,
}

impl Screen {
    pub(super) fn take(&mut self, looked: Result<Seen, String>) {
        match looked {
            Ok(seen) => (self.seen, self.trouble) = (Some(seen), None),
            Err(trouble) => self.trouble = Some(plain(&trouble)),
        }
        self.scroll(|above| above);
    }

    /// Whether to go on after this key.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if is_control => return false,
            KeyCode::Char(digit @ '1'..='5') => {
                let at = digit.to_digit(10).unwrap_or(1) as usize - 1;
                self.turn_to(View::ALL[at]);
            }
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.view.on(1)),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.view.on(View::ALL.len() - 1)),
            KeyCode::Down => self.scroll(|above| above + 1),
            KeyCode::Up => self.scroll(|above| above.saturating_sub(1)),
            KeyCode::PageDown => self.scroll(|above| above + PAGE),
            KeyCode::PageUp => self.scroll(|above| above.saturating_sub(PAGE)),
            KeyCode::Home => self.scroll(|_| 0),
            KeyCode::End => self.scroll(|_| usize::MAX),
            _ => {}
        }
        true
    }

    fn turn_to(&mut self, view: View) {
        (self.view, self.above) = (view, 0);
    }

    /// The last row stays in sight.
    fn scroll(&mut self, to: impl FnOnce(usize) -> usize) {
        let rows = self.seen.as_ref().map_or(0, |seen| seen.sheet(self.view).rows.len());
        self.above = to(self.above).min(rows.saturating_sub(1));
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let line = Constraint::Length(1);
        let [head, tabs, body, foot] = Layout::vertical([line, line, Constraint::Min(0), line]).areas(frame.area());
        let (headline, tone) = match (&self.trouble, &self.seen) {
            (Some(trouble), _) => (format!("no answer: {trouble}"), Tone::Critical),
            (None, Some(seen)) => (seen.headline(), seen.tone()),
            (None, None) => ("looking".to_owned(), Tone::Plain),
        };
        frame.render_widget(Line::styled(headline, style(tone).add_modifier(Modifier::BOLD)), head);
        let names = View::ALL.into_iter().enumerate().map(|(at, view)| {
            let shown = format!(" {} {} ", at + 1, view.name());
            if view == self.view { Span::styled(shown, Modifier::REVERSED) } else { Span::raw(shown) }
        });
        frame.render_widget(Line::from_iter(names), tabs);
        if let Some(seen) = &self.seen {
            frame.render_widget(table(&seen.sheet(self.view), self.above), body);
        }
        frame.render_widget(Line::styled(KEYS, Modifier::DIM), foot);
    }
}

/// The rows from one on.
fn table(sheet: &Sheet, above: usize) -> Table<'static> {
    let cell = |text: String, (_, is_number): &Column| {
        let line = Line::from(text);
        Cell::from(if *is_number { line.right_aligned() } else { line })
    };
    let heads = sheet.columns.iter().map(|column| cell(column.0.to_owned(), column));
    let row = |(cells, tone): &(Vec<String>, Tone)| {
        let cells = cells.iter().zip(&sheet.columns).map(|(text, column)| cell(text.clone(), column));
        Row::new(cells).style(style(*tone))
    };
    let rows = sheet.rows.iter().skip(above).map(row);
    let widths = sheet.widths().into_iter().map(|width| Constraint::Length(width.try_into().unwrap_or(u16::MAX)));
    let header = Row::new(heads).style(Modifier::BOLD);
    Table::new(rows, widths).header(header).column_spacing(2)
}

/// Colours beside words that say the same.
fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Warning => Style::new().fg(Color::Yellow),
        Tone::Critical => Style::new().fg(Color::Red),
    }
}
