//! The table: a row for each bug, the one that changed last on top. Owns rows, filter and what is in
//! view, and makes lines of them. Knows no terminal, no clock and no connection.

use std::collections::HashMap;

use super::keys::Key;
use crate::bugzilla::rest::Facts;
use crate::update::{BugId, Update, When};

/// Above the rows: how the connection is, and the heads of the columns. Below: what the keys do.
const LINES_AROUND: usize = 3;

const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";

/// How long a change is marked, in seconds.
pub(super) const FRESH_SECONDS: u64 = 10;

/// What the user wants after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Look,
    Quit,
}

/// A bug, and what has become of it.
#[derive(Clone, Debug)]
struct Row {
    bug: BugId,
    /// The newest time that was told, as it is shown.
    when: Option<String>,
    changes: u64,
    /// When the last change came, in seconds of the screen's clock.
    came_at: u64,
}

/// The table, and how it is looked at.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// In the order in which they are shown.
    rows: Vec<Row>,
    facts: HashMap<BugId, Facts>,
    state: String,
    warning: Option<String>,
    filter: String,
    is_typing: bool,
    /// The first row in view, of those that pass the filter.
    first: usize,
    is_coloured: bool,
}

impl Table {
    pub(super) fn new(bugs: impl IntoIterator<Item = BugId>, is_coloured: bool) -> Self {
        let row = |bug| Row {
            bug,
            when: None,
            changes: 0,
            came_at: 0,
        };
        Self {
            rows: bugs.into_iter().map(row).collect(),
            facts: HashMap::new(),
            state: "connecting".to_owned(),
            warning: None,
            filter: String::new(),
            is_typing: false,
            first: 0,
            is_coloured,
        }
    }

    /// A bug has changed; it is told at `now`, in seconds.
    pub(super) fn update(&mut self, update: &Update, now: u64) {
        let Some(at) = self.rows.iter().position(|row| row.bug == update.bug) else {
            return;
        };
        let mut row = self.rows.remove(at);
        // In one form, so that texts compare as times do.
        let when = When::from_unix_seconds(update.when.unix_seconds()).to_string();
        // What was missed comes after what is newer, sometimes.
        row.when = row.when.max(Some(when));
        row.changes += 1;
        row.came_at = now;
        let place = self.rows.iter().position(|other| other.when <= row.when);
        self.rows.insert(place.unwrap_or(self.rows.len()), row);
    }

    /// What bugs are about.
    pub(super) fn learn(&mut self, facts: HashMap<BugId, Facts>) {
        self.facts.extend(facts);
    }

    pub(super) fn set_state(&mut self, state: String) {
        self.state = state;
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warning = Some(warning);
    }

    /// Does what a key asks for, where `height` lines are in view.
    pub(super) fn press(&mut self, key: Key, height: usize) -> Wish {
        if key == Key::Quit {
            return Wish::Quit;
        }
        if self.is_typing {
            self.type_filter(key);
            return Wish::Look;
        }
        let page = height.saturating_sub(LINES_AROUND).max(1);
        match key {
            Key::Character('q') => return Wish::Quit,
            Key::Character('/') => self.is_typing = true,
            Key::Escape => {
                self.filter.clear();
                self.warning = None;
            }
            Key::Up | Key::Character('k') => self.first = self.first.saturating_sub(1),
            Key::Down | Key::Character('j') => self.first += 1,
            Key::PageUp => self.first = self.first.saturating_sub(page),
            Key::PageDown | Key::Character(' ') => self.first += page,
            Key::Home | Key::Character('g') => self.first = 0,
            Key::End | Key::Character('G') => self.first = self.rows.len(),
            _ => {}
        }
        Wish::Look
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Character(character) => self.filter.push(character),
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
        self.first = 0;
    }

    /// The lines of a screen of this height, at `now`.
    pub(super) fn lines(&mut self, height: usize, now: u64) -> Vec<String> {
        let passing: Vec<&Row> = self.rows.iter().filter(|row| self.passes(row)).collect();
        let room = height.saturating_sub(LINES_AROUND);
        let first = self.first.min(passing.len().saturating_sub(room));
        let end = (first + room).min(passing.len());
        let mut lines = vec![
            format!("{BOLD}{}", visible(&self.state)),
            format!("{REVERSE}       BUG  CHANGED (UTC)        CHANGES  SUMMARY\x1b[K"),
        ];
        lines.extend(passing[first..end].iter().map(|row| self.line(row, now)));
        lines.resize(height.saturating_sub(1).max(lines.len()), String::new());
        lines.push(self.foot((first + 1).min(end), end, passing.len()));
        lines.truncate(height);
        self.first = first;
        lines
    }

    fn line(&self, row: &Row, now: u64) -> String {
        let is_fresh = row.changes > 0 && now < row.came_at + FRESH_SECONDS;
        let mark = match (is_fresh, self.is_coloured) {
            (true, true) => format!("{BOLD}{GREEN}"),
            (true, false) => BOLD.to_owned(),
            (false, _) => String::new(),
        };
        let when = row.when.as_deref().unwrap_or("-").replace('T', " ");
        let about = self.about(row.bug);
        format!(
            "{mark}{:>10}  {when:<19}  {:>7}  {}",
            row.bug.to_string(),
            row.changes,
            visible(&about)
        )
    }

    fn foot(&self, first: usize, end: usize, passing: usize) -> String {
        if self.is_typing {
            return format!(
                "/{}_   Enter keeps the filter, Esc ends it",
                visible(&self.filter)
            );
        }
        if let Some(warning) = &self.warning {
            let colour = if self.is_coloured { YELLOW } else { BOLD };
            return format!("{colour}{}   (Esc)", visible(warning));
        }
        let filter = match self.filter.as_str() {
            "" => String::new(),
            filter => format!(
                " with \"{}\" (Esc: all {})",
                visible(filter),
                self.rows.len()
            ),
        };
        format!(
            "{first}-{end} of {passing}{filter}   q quit   / filter   arrows, PgUp, PgDn scroll"
        )
    }

    /// A number is that of a bug; anything else is a part of its time, its state or its summary.
    fn passes(&self, row: &Row) -> bool {
        let wanted = self.filter.trim().to_lowercase();
        if wanted.is_empty() {
            return true;
        }
        if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
            return row.bug.to_string().contains(&wanted);
        }
        let when = row.when.as_deref().unwrap_or_default().replace('T', " ");
        format!("{when} {}", self.about(row.bug))
            .to_lowercase()
            .contains(&wanted)
    }

    /// What a bug is about, as far as that is known.
    fn about(&self, bug: BugId) -> String {
        let facts = self.facts.get(&bug);
        let about = facts.map(|facts| format!("{} ({})", facts.summary, facts.status));
        about.unwrap_or_default()
    }
}

/// A text that no terminal obeys.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(number: u32) -> BugId {
        BugId::new(number).unwrap()
    }

    fn update(number: u32, seconds: i64) -> Update {
        Update {
            bug: bug(number),
            when: When::from_unix_seconds(seconds),
        }
    }

    fn table(bugs: u32) -> Table {
        Table::new((1..=bugs).map(bug), false)
    }

    /// The bugs in view, from top to bottom.
    fn shown(table: &mut Table, height: usize) -> Vec<u32> {
        let lines = table.lines(height, 1_000);
        assert_eq!(lines.len(), height);
        let number = |line: &String| line.split_whitespace().next()?.parse().ok();
        lines[2..height - 1].iter().filter_map(number).collect()
    }

    fn type_text(table: &mut Table, text: &str) {
        for character in text.chars() {
            table.press(Key::Character(character), 10);
        }
    }

    #[test]
    fn the_bug_that_changed_last_stands_on_top_and_those_without_a_change_below() {
        let mut table = table(4);
        table.update(&update(3, 100), 0);
        table.update(&update(2, 300), 0);
        table.update(&update(4, 200), 0);
        table.update(&update(2, 250), 0);
        assert_eq!(shown(&mut table, 10), [2, 4, 3, 1]);
        let line = &table.lines(10, 1_000)[2];
        assert_eq!(line.trim_end(), "         2  1970-01-01 00:05:00        2");
    }

    #[test]
    fn keys_scroll_through_many_bugs_and_stop_at_both_ends() {
        let mut table = table(20);
        assert_eq!(shown(&mut table, 8), [1, 2, 3, 4, 5]);
        for (key, first) in [
            (Key::Down, 2),
            (Key::PageDown, 7),
            (Key::End, 16),
            (Key::Down, 16),
            (Key::PageUp, 11),
            (Key::Up, 10),
            (Key::Home, 1),
            (Key::Up, 1),
        ] {
            assert_eq!(table.press(key, 8), Wish::Look);
            assert_eq!(shown(&mut table, 8)[0], first, "{key:?}");
        }
        table.press(Key::End, 8);
        assert_eq!(shown(&mut table, 30).len(), 20, "a larger window shows all");
    }

    #[test]
    fn a_filter_is_typed_kept_and_ended() {
        let mut table = table(30);
        let facts = Facts {
            summary: "It breaks".to_owned(),
            status: "RESOLVED FIXED".to_owned(),
        };
        table.learn(HashMap::from([(bug(7), facts)]));
        type_text(&mut table, "/q2");
        table.press(Key::Backspace, 10);
        assert_eq!(shown(&mut table, 10), [] as [u32; 0], "q is a letter here");
        table.press(Key::Backspace, 10);
        type_text(&mut table, "12");
        assert_eq!(shown(&mut table, 10), [12]);
        table.press(Key::Escape, 10);
        assert_eq!(shown(&mut table, 40).len(), 30);
        for text in ["/BREAKS", "/fixed"] {
            type_text(&mut table, text);
            table.press(Key::Enter, 10);
            assert_eq!(shown(&mut table, 10), [7], "{text}");
            table.press(Key::Escape, 10);
        }
        assert_eq!(table.press(Key::Character('q'), 10), Wish::Quit);
        assert_eq!(table.press(Key::Quit, 10), Wish::Quit);
    }

    #[test]
    fn a_change_is_marked_for_some_seconds_and_coloured_only_where_that_is_wanted() {
        for (is_coloured, mark) in [(true, "\x1b[1m\x1b[32m"), (false, "\x1b[1m")] {
            let mut table = Table::new([bug(1)], is_coloured);
            table.update(&update(1, 100), 50);
            let line = |table: &mut Table, now| table.lines(10, now)[2].clone();
            assert!(line(&mut table, 51).starts_with(&format!("{mark}   ")));
            assert!(line(&mut table, 50 + FRESH_SECONDS).starts_with("   "));
        }
    }

    #[test]
    fn what_others_have_written_gives_the_terminal_no_orders() {
        let mut table = table(1);
        let facts = Facts {
            summary: "\x1b[2J\u{9b}2J".to_owned(),
            status: "NEW".to_owned(),
        };
        table.learn(HashMap::from([(bug(1), facts)]));
        table.warn("\x1b]0;title\x07".to_owned());
        let lines = table.lines(10, 0).join("\n");
        assert!(
            lines.contains("·[2J·2J (NEW)") && lines.contains("·]0;title·"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_window_of_any_height_is_filled_exactly() {
        for height in 1..6 {
            assert_eq!(table(9).lines(height, 0).len(), height);
        }
    }
}
