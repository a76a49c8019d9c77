//! The terminal while it shows a table: raw, on its alternate screen, and as it was before when the
//! value is dropped. Knows no table.

use std::io::{self, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Alternate screen, no cursor, and no line that goes on in the next: what is too long is cut off by
/// the terminal, which knows how wide a character is.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What a terminal without a size is taken to have.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// A terminal on stdin and stdout.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let terminal = Self { before };
        terminal.write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => USUAL_SIZE,
        }
    }

    /// Shows these lines, and nothing else.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        // Each line is cleared after it is written, so that nothing flickers.
        let lines: Vec<String> = lines
            .iter()
            .map(|line| format!("{line}\x1b[0m\x1b[K"))
            .collect();
        self.write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that is gone needs nothing any more.
        let _ = self.write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}
