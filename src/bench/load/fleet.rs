//! The load's processes, from the outside: starts them, gives them orders and gathers their
//! answers. Knows no scenario.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::clients::Setup;
use super::order::{Answer, Order, Outcome, Status};
use crate::bench::interrupt;
use crate::bench::server::sample;

/// How often it is looked whether somebody interrupts, or a process has ended.
const LOOK: Duration = Duration::from_millis(200);

/// The processes that hold the clients.
#[derive(Debug)]
pub(crate) struct Fleet {
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
    pub(crate) fn start(setups: &[Setup]) -> io::Result<Self> {
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

    /// Gives all processes an order and waits until all have carried it out. `watch` gets how far
    /// they are.
    pub(crate) fn order(
        &mut self,
        order: &Order,
        watch: &mut dyn FnMut(&Status),
    ) -> io::Result<Status> {
        self.send(order)?;
        let mut statuses = vec![Status::default(); self.workers.len()];
        let mut left = self.workers.len();
        while left > 0 {
            match self.next_answer()? {
                (at, Answer::Pending(status)) => statuses[at] = status,
                (at, Answer::Done(status)) => {
                    statuses[at] = status;
                    left -= 1;
                }
                (_, Answer::Outcome(_)) => {}
            }
            watch(&Status::of_all(&statuses));
        }
        Ok(Status::of_all(&statuses))
    }

    /// Gathers what the processes have counted.
    pub(crate) fn outcome(&mut self) -> io::Result<Outcome> {
        self.send(&Order::Report)?;
        let mut sum = Outcome::default();
        let mut left = self.workers.len();
        while left > 0 {
            if let (_, Answer::Outcome(outcome)) = self.next_answer()? {
                sum.add(&outcome);
                left -= 1;
            }
        }
        Ok(sum)
    }

    fn send(&mut self, order: &Order) -> io::Result<()> {
        self.workers
            .iter_mut()
            .try_for_each(|worker| send(&mut worker.orders, order))
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
    pub(crate) fn cpu(&self) -> (u64, u64) {
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
