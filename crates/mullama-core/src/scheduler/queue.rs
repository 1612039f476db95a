//! The queue of requests that are not running.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use super::request::Job;
use super::slot::Slot;

/// Number of clients whose last turn is recorded before those without waiting requests are dropped.
const MAX_CLIENTS: usize = 1024;

/// A request in the queue.
pub(super) enum QueuedRequest {
    New(Box<Job>),
    /// It was running, and released its cells.
    Preempted(Box<Slot>),
}

impl QueuedRequest {
    pub fn job(&self) -> &Job {
        match self {
            QueuedRequest::New(job) => job,
            QueuedRequest::Preempted(slot) => slot.job(),
        }
    }

    pub fn n_needed(&self) -> usize {
        match self {
            QueuedRequest::New(job) => job.prompt.len(),
            QueuedRequest::Preempted(slot) => slot.n_needed(),
        }
    }
}

/// Requests that are not running.
///
/// Preempted requests are first. Of the others, the highest priority is next; among equals, a request of the client
/// with the fewest running requests, then of the client whose last turn is longest ago, then the oldest.
#[derive(Default)]
pub(super) struct Queue {
    preempted: VecDeque<QueuedRequest>,
    /// Oldest first.
    new: VecDeque<QueuedRequest>,
    /// When each client last had a turn.
    last_turns: HashMap<Option<String>, u64>,
    turn: u64,
}

/// The position of a request in the queue.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Preempted,
    New(usize),
}

impl Queue {
    pub fn len(&self) -> usize {
        self.preempted.len() + self.new.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, job: Box<Job>) {
        self.new.push_back(QueuedRequest::New(job));
    }

    /// Returns a preempted request to the queue; it is next.
    pub fn requeue(&mut self, slot: Slot) {
        self.preempted.push_front(QueuedRequest::Preempted(Box::new(slot)));
    }

    /// The position of the next request, given the running ones.
    pub fn next<'a>(&self, running: impl Iterator<Item = &'a Job>) -> Option<Place> {
        if !self.preempted.is_empty() {
            return Some(Place::Preempted);
        }
        let mut counts: HashMap<&Option<String>, usize> = HashMap::new();
        for job in running {
            *counts.entry(&job.client).or_default() += 1;
        }
        let rank = |(index, waiting): &(usize, &QueuedRequest)| {
            let Job { priority, client, .. } = waiting.job();
            let running = counts.get(client).copied().unwrap_or(0);
            (Reverse(*priority), running, self.last_turns.get(client).copied(), *index)
        };
        self.new.iter().enumerate().min_by_key(rank).map(|(index, _)| Place::New(index))
    }

    /// The request at a position.
    pub fn at(&self, place: Place) -> &QueuedRequest {
        match place {
            Place::Preempted => &self.preempted[0],
            Place::New(index) => &self.new[index],
        }
    }

    /// Removes the request at a position, and records the turn of its client.
    pub fn take(&mut self, place: Place) -> QueuedRequest {
        let waiting = match place {
            Place::Preempted => self.preempted.pop_front(),
            Place::New(index) => self.new.remove(index),
        };
        let waiting = waiting.expect("the place is that of a request");
        self.turn += 1;
        self.last_turns.insert(waiting.job().client.clone(), self.turn);
        if self.last_turns.len() > MAX_CLIENTS {
            let asking: Vec<_> = self.new.iter().map(|waiting| &waiting.job().client).collect();
            self.last_turns.retain(|client, _| asking.contains(&client));
        }
        waiting
    }

    /// Removes all requests that are cancelled or whose owner is gone.
    pub fn take_abandoned(&mut self) -> Vec<QueuedRequest> {
        let mut given_up = Vec::new();
        for queue in [&mut self.preempted, &mut self.new] {
            if queue.iter().any(|waiting| waiting.job().is_abandoned()) {
                let (gone, left) =
                    queue.drain(..).partition(|waiting| waiting.job().is_abandoned());
                given_up.append(&mut Vec::from(gone));
                *queue = left;
            }
        }
        given_up
    }

    /// Removes all requests.
    pub fn drain(&mut self) -> impl Iterator<Item = QueuedRequest> {
        self.preempted.drain(..).chain(self.new.drain(..))
    }
}
