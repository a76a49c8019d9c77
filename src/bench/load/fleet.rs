//! The load's processes, from the outside: starts them, gives them orders and gathers their
//! answers. Knows no scenario.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::bench::interrupt;
use crate::bench::load::clients::Setup;
use crate::bench::load::worker::{Answer, Order, Progress, Report};
use crate::bench::server::sample;

/// How often it is looked whether somebody interrupts, or a process has ended.
const LOOK: Duration = Duration::from_millis(200);

/// The processes that hold the clients.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<Worker>,
    answers: Receiver<(usize, Answer)>,
}

#[derive(Debug)]
struct Worker {
    process: Child,
    orders: ChildStdin,
}

impl Fleet {
    /// Starts one process for each setup.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(setups: &[Setup]) -> io::Result<Self> {
        let (sender, answers) = mpsc::channel();
        let mut workers = Vec::new();
        for (at, setup) in setups.iter().enumerate() {
            let mut process = Command::new(env::current_exe()?)
                .args(["bench", "worker"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut orders = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
            let lines =
                BufReader::new(process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
            send(&mut orders, setup)?;
            let sender = sender.clone();
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let Ok(answer) = serde_json::from_str(&line) else {
                        return;
                    };
                    if sender.send((at, answer)).is_err() {
                        return;
                    }
                }
            });
            workers.push(Worker { process, orders });
        }
        Ok(Self { workers, answers })
    }

    /// Gives all processes an order and waits until all have carried it out. `watch` is told how
    /// far they are.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn order(
        &mut self,
        order: &Order,
        watch: &mut dyn FnMut(&Progress),
    ) -> io::Result<Progress> {
        for worker in &mut self.workers {
            send(&mut worker.orders, order)?;
        }
        let mut progress = vec![Progress::default(); self.workers.len()];
        let mut left = self.workers.len();
        while left > 0 {
            let (at, answer) = self.next_answer()?;
            match answer {
                Answer::Progress(told) => progress[at] = told,
                Answer::Done(told) => {
                    progress[at] = told;
                    left -= 1;
                }
                Answer::Report(_) => {}
            }
            watch(&sum(&progress));
        }
        Ok(sum(&progress))
    }

    /// Gathers all that the processes know.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn report(&mut self) -> io::Result<Report> {
        for worker in &mut self.workers {
            send(&mut worker.orders, &Order::Report)?;
        }
        let mut report = Report::default();
        let mut left = self.workers.len();
        while left > 0 {
            if let (_, Answer::Report(told)) = self.next_answer()? {
                add(&mut report, &told);
                left -= 1;
            }
        }
        Ok(report)
    }

    fn next_answer(&mut self) -> io::Result<(usize, Answer)> {
        loop {
            interrupt::check()?;
            match self.answers.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(_) => {
                    if self
                        .workers
                        .iter_mut()
                        .any(|worker| !matches!(worker.process.try_wait(), Ok(None)))
                    {
                        return Err(io::Error::other("a process of the load has ended early"));
                    }
                }
            }
        }
    }

    /// CPU time of the processes in nanoseconds: of the one that used most, and of all.
    pub fn cpu(&self) -> (u64, u64) {
        let each = self
            .workers
            .iter()
            .map(|worker| sample::cpu(worker.process.id()).map_or(0, |(all, _)| all));
        each.fold((0, 0), |(most, all), one| (most.max(one), all + one))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // They have nothing to lose.
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
    }
}

fn send(orders: &mut ChildStdin, message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    orders.write_all(&line)
}

fn sum(progress: &[Progress]) -> Progress {
    progress
        .iter()
        .fold(Progress::default(), |sum, one| Progress {
            open: sum.open + one.open,
            closed: sum.closed + one.closed,
            lost: sum.lost + one.lost,
            outstanding: sum.outstanding + one.outstanding,
            behind: sum.behind + one.behind,
            took: sum.took.max(one.took),
        })
}

fn add(report: &mut Report, other: &Report) {
    report.counts.add(&other.counts);
    report.outstanding += other.outstanding;
    report.latency.merge(&other.latency);
    let (tally, other) = (&mut report.tally, &other.tally);
    tally.open += other.open;
    tally.opened += other.opened;
    tally.closed += other.closed;
    tally.refused += other.refused;
    tally.incomplete += other.incomplete;
    tally.bytes += other.bytes;
    tally.connect.merge(&other.connect);
    for (reason, times) in &other.failed {
        *tally.failed.entry(reason.clone()).or_default() += times;
    }
    for (reason, times) in &other.dropped {
        *tally.dropped.entry(reason.clone()).or_default() += times;
    }
}
