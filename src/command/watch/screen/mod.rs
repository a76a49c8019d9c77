//! A live table on a terminal. Owns the thread that draws it, and reads keys; the watch runs in
//! another one, and a third one asks Bugzilla what the bugs are about.

mod keys;
mod table;
mod terminal;

use std::io::{self, IsTerminal, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::{flag, low_level::pipe};

use super::facts::look_up_all;
use super::options::Options;
use super::output::{Event, Mailbox, Output};
use super::{Watch, finish};
use crate::failure::Failure;
use crate::update::BugId;
use keys::read_keys;
use table::{Table, Wish};
use terminal::Terminal;

/// How long the mark of a change may stay too long.
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Bugs that Bugzilla is to be asked about.
type Wanted = Sender<Vec<BugId>>;

/// Whether a table can be shown, and would be read: not by a program behind a pipe.
pub(super) fn is_possible() -> bool {
    let knows_sequences = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    knows_sequences && io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Watches, and shows a table until the user or the watch ends it.
///
/// # Errors
/// Those of the watch, and what is wrong with the terminal.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let cannot =
        |error: io::Error| Failure::Unavailable(format!("cannot use this terminal: {error}."));
    let (bell, wake) = UnixStream::pair().map_err(cannot)?;
    wake.set_nonblocking(true).map_err(cannot)?;
    bell.set_nonblocking(true).map_err(cannot)?;
    let is_ended = end_by_signals(&bell).map_err(cannot)?;
    let (events, incoming) = channel();
    let mailbox = Mailbox::new(events, bell);
    let watch = Watch::new(options, Output::Screen(mailbox.clone()))?;
    let table = Table::new(watch.bugs.iter().copied(), is_coloured());
    let wanted = ask_bugzilla(options, &mailbox)?;
    let terminal = Terminal::take().map_err(cannot)?;
    if let Some(wanted) = &wanted {
        let _ = wanted.send(watch.bugs.iter().copied().collect());
    }
    thread::spawn(move || mailbox.send(Event::End(finish(watch))));
    let screen = Screen {
        table,
        terminal,
        incoming,
        wake,
        wanted,
        is_ended,
        start: Instant::now(),
    };
    screen.run().map_err(cannot)?
}

/// Whether the user wants colours: <https://no-color.org>.
fn is_coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Signals ring the bell; those that ask for the end are remembered, so that the terminal is left as
/// it was.
fn end_by_signals(bell: &UnixStream) -> io::Result<Arc<AtomicBool>> {
    let is_ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&is_ended))?;
    }
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGWINCH] {
        pipe::register(signal, bell.try_clone()?)?;
    }
    Ok(is_ended)
}

/// Starts the thread that asks what the bugs are about, where there is somebody to ask.
fn ask_bugzilla(options: &Options, mailbox: &Mailbox) -> Result<Option<Wanted>, Failure> {
    let Some(finder) = options.fact_finder()? else {
        return Ok(None);
    };
    let (wanted, questions) = channel();
    let mailbox = mailbox.clone();
    thread::spawn(move || look_up_all(&finder, &questions, &mailbox));
    Ok(Some(wanted))
}

/// The table on its terminal, and what it is told.
struct Screen {
    table: Table,
    terminal: Terminal,
    incoming: Receiver<Event>,
    /// Has a byte when there is something to do.
    wake: UnixStream,
    wanted: Option<Wanted>,
    is_ended: Arc<AtomicBool>,
    start: Instant,
}

impl Screen {
    /// Draws, waits, and does what is to be done.
    fn run(mut self) -> io::Result<Result<(), Failure>> {
        loop {
            let now = self.start.elapsed().as_secs();
            let (_, height) = self.terminal.size();
            self.terminal.draw(&self.table.lines(height, now))?;
            let has_keys = self.wait()?;
            if self.is_ended.load(Ordering::Relaxed) {
                return Ok(Ok(()));
            }
            if has_keys && self.read_keys(height)? == Wish::Quit {
                return Ok(Ok(()));
            }
            if let Some(result) = self.take_events() {
                return Ok(result);
            }
        }
    }

    /// Waits for a key, for the bell, or until a mark may have to go; returns whether there is a
    /// key.
    fn wait(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut files = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        match poll(&mut files, Some(&LOOK_AGAIN)) {
            // By a signal, which rings the bell.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_keys = !files[0].revents().is_empty();
        let mut bytes = [0; 256];
        while (&self.wake).read(&mut bytes).is_ok_and(|count| count > 0) {}
        Ok(has_keys)
    }

    fn read_keys(&mut self, height: usize) -> io::Result<Wish> {
        let mut bytes = [0; 256];
        // Past the standard library's buffer, in which keys would wait unseen.
        let count = rustix::io::read(io::stdin(), &mut bytes)?;
        // A terminal that is gone.
        if count == 0 {
            return Ok(Wish::Quit);
        }
        for key in read_keys(&bytes[..count]) {
            if self.table.press(key, height) == Wish::Quit {
                return Ok(Wish::Quit);
            }
        }
        Ok(Wish::Look)
    }

    /// Takes what has come; returns how the watch ended, if it did.
    fn take_events(&mut self) -> Option<Result<(), Failure>> {
        let now = self.start.elapsed().as_secs();
        while let Ok(event) = self.incoming.try_recv() {
            match event {
                Event::Update(update) => {
                    self.table.update(&update, now);
                    if let Some(wanted) = &self.wanted {
                        let _ = wanted.send(vec![update.bug]);
                    }
                }
                Event::Facts(facts) => self.table.learn(facts),
                Event::State(state) => self.table.set_state(state),
                Event::Warning(warning) => self.table.warn(warning),
                Event::End(result) => return Some(result),
            }
        }
        None
    }
}
