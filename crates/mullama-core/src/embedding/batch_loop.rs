//! The thread that computes embeddings. It packs the texts of all calls into batches.
//!
//! Each step takes texts from all calls in turn, the shortest of each call first, until the batch is full. With causal
//! attention, a text may be split at the end of a batch and continued in the next. With bidirectional attention, or if
//! the engine pools a text itself, the whole text must be in one batch.

use std::collections::BTreeMap;
use std::time::Instant;

use super::blueprint::EmbeddingContextSpec;
use crate::engine::{
    AdapterSet, Context, Decoded, Placement, ServiceCommand, ServiceLoop, Shared, closed,
};
use crate::options::Pooling;
use crate::{CancelToken, Error, ErrorKind, Result, Token};
use mullama_base::Text;

/// One call, validated and tokenised.
pub(super) struct Job {
    pub inputs: Vec<Vec<Token>>,
    pub pooling: Pooling,
    pub adapters: AdapterSet,
    /// The index of the first result row of each input, and the total number of rows.
    pub starts: Vec<usize>,
    pub cancel: CancelToken,
    pub reply: flume::Sender<Result<Vec<f32>>>,
}

impl ServiceCommand for Box<Job> {
    fn refuse(self) {
        let _ = self.reply.send(Err(closed()));
    }
}

/// Statistics of the thread and the memory of its context, readable from any thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub inputs: u64,
    pub tokens: u64,
    pub steps: u64,
    pub placement: Placement,
}

/// A call in progress.
struct Call {
    job: Job,
    values: Vec<f32>,
    /// Inputs that have not started, longest first.
    waiting: Vec<usize>,
    /// Number of inputs without a result.
    missing: usize,
}

impl Call {
    fn new(job: Job, width: usize) -> Self {
        // The vector of an input without tokens is all zeros.
        let mut waiting: Vec<_> =
            (0..job.inputs.len()).filter(|&input| !job.inputs[input].is_empty()).collect();
        // Inputs of equal length are processed in their original order.
        waiting.sort_by_key(|&input| std::cmp::Reverse((job.inputs[input].len(), input)));
        let rows = job.starts.last().copied().unwrap_or(0);
        let (values, missing) = (vec![0.0; rows * width], waiting.len());
        Self { job, values, waiting, missing }
    }

    fn is_abandoned(&self) -> bool {
        self.job.cancel.is_cancelled() || self.job.reply.is_disconnected()
    }

    /// Length of the longest input in tokens.
    fn longest(&self) -> usize {
        self.job.inputs.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// An input with a sequence in the context.
struct Running {
    call: u64,
    input: usize,
    seq: i32,
    /// Number of computed tokens.
    done: usize,
    /// Number of its tokens in the batch, and the index of the first of them.
    in_batch: usize,
    first: usize,
}

pub(super) struct BatchLoop {
    blueprint: EmbeddingContextSpec,
    context: Option<Context>,
    /// Length in tokens of the longest input that the context can process.
    capacity: usize,
    /// By order of arrival.
    calls: BTreeMap<u64, Call>,
    arrivals: u64,
    /// The call that is served first in the next step.
    turn: u64,
    running: Vec<Running>,
    free_sequences: Vec<i32>,
    progress: Shared<Progress>,
}

impl BatchLoop {
    pub fn new(blueprint: EmbeddingContextSpec, progress: Shared<Progress>) -> Self {
        Self {
            blueprint,
            context: None,
            capacity: 0,
            calls: BTreeMap::new(),
            arrivals: 0,
            turn: 0,
            running: Vec::new(),
            free_sequences: Vec::new(),
            progress,
        }
    }

    /// Removes a call and its running inputs. Sends `answer`, or the computed values if `answer` is none.
    fn end(&mut self, id: u64, answer: Option<Result<()>>) {
        let Some(call) = self.calls.remove(&id) else { return };
        let (ended, running): (Vec<_>, _) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|running: &Running| running.call == id);
        self.running = running;
        for running in ended {
            self.leave(running.seq);
        }
        let answer = answer.unwrap_or(Ok(())).map(|()| call.values);
        let _ = call.job.reply.send(answer);
    }

    /// Releases a sequence and its cells.
    fn leave(&mut self, seq: i32) {
        if let Some(context) = &mut self.context {
            context.forget(seq);
        }
        self.free_sequences.push(seq);
    }

    /// Removes all running inputs from the context, to be started again from their beginning.
    fn restart_all(&mut self) {
        for running in std::mem::take(&mut self.running) {
            self.leave(running.seq);
            if let Some(call) = self.calls.get_mut(&running.call) {
                let width = self.blueprint.width;
                let rows = call.job.starts[running.input]..call.job.starts[running.input + 1];
                call.values[rows.start * width..rows.end * width].fill(0.0);
                call.waiting.push(running.input);
            }
        }
    }

    /// Creates the context, or replaces it by a larger one if an input needs it. Calls whose context cannot be created
    /// fail.
    fn make_room(&mut self) {
        while let Some(needed) = self.calls.values().map(Call::longest).max() {
            if self.context.is_some() && needed <= self.capacity {
                return;
            }
            let capacity = self.blueprint.capacity_for(needed);
            // Free the current context first, since the new one may need its memory.
            self.restart_all();
            let before = self.context.take().map(|_| self.capacity);
            match self.open(capacity) {
                Ok(()) => return,
                Err(error) => {
                    let fits = |call: &Call| before.is_some_and(|most| call.longest() <= most);
                    let failed = self.calls.iter().filter(|(_, call)| !fits(call));
                    for id in failed.map(|(id, _)| *id).collect::<Vec<_>>() {
                        self.end(id, Some(Err(error.clone())));
                    }
                }
            }
        }
    }

    fn open(&mut self, capacity: usize) -> Result<()> {
        self.progress.update(|progress| progress.placement = Placement::default());
        let (context, placement) = self.blueprint.open(capacity)?;
        let n_sequences = context.n_seq_max().min(self.blueprint.n_sequences) as i32;
        self.free_sequences = (0..n_sequences).rev().collect();
        self.progress.update(|progress| progress.placement = placement);
        self.context = Some(context);
        self.capacity = capacity;
        Ok(())
    }

    /// Fills the batch for the next step.
    fn fill_batch(&mut self) -> Result<()> {
        let context = self.context.as_mut().ok_or_else(context_missing)?;
        let mut room = BatchCapacity {
            budget: self.blueprint.batch,
            batch: self.blueprint.batch,
            cells: context.n_ctx() as usize,
            needs_single_batch: self.blueprint.needs_single_batch,
            long_waits: false,
        };
        let batch = context.batch();
        batch.clear();
        // Running inputs continue. Half of the batch is reserved for short inputs, if there are any, since these
        // complete at once.
        let is_short = |call: &Call| {
            call.waiting.last().is_some_and(|&input| call.job.inputs[input].len() <= room.batch)
        };
        let kept = if self.calls.values().any(is_short) { room.batch / 2 } else { 0 };
        for running in &mut self.running {
            let tokens = &self.calls[&running.call].job.inputs[running.input];
            let left = &tokens[running.done..];
            running.in_batch = left.len().min(room.budget.saturating_sub(kept));
            running.first = batch.len();
            for (offset, &token) in left[..running.in_batch].iter().enumerate() {
                batch.add(token, running.done + offset, running.seq, true);
            }
            room.budget -= running.in_batch;
            room.cells = room.cells.saturating_sub(tokens.len());
        }

        // Calls take turns. The first one whose next input does not fit is served first in the next step.
        let mut order: Vec<u64> = self.calls.range(self.turn..).map(|(id, _)| *id).collect();
        order.extend(self.calls.range(..self.turn).map(|(id, _)| *id));
        // All inputs of a batch use the same adapters. If the first call in turn has different ones than the running
        // inputs, it waits until these are done, and no other call starts before it.
        let with = self.running.first().map(|running| running.call);
        let mut adapters = with.map(|id| self.calls[&id].job.adapters.clone());
        let mut left_out = None;
        let mut is_full = false;
        while !order.is_empty() {
            order.retain(|&id| {
                let Some(call) = self.calls.get_mut(&id) else { return false };
                let Some(&input) = call.waiting.last() else { return false };
                if *adapters.get_or_insert_with(|| call.job.adapters.clone()) != call.job.adapters {
                    is_full |= left_out.is_none();
                    left_out.get_or_insert(id);
                }
                if is_full || adapters.as_ref() != Some(&call.job.adapters) {
                    return false;
                }
                let tokens = &call.job.inputs[input];
                let in_batch = room.take(tokens.len(), batch.len() == 0);
                let (Some(in_batch), Some(&seq)) = (in_batch, self.free_sequences.last()) else {
                    left_out.get_or_insert(id);
                    return false;
                };
                self.free_sequences.pop();
                call.waiting.pop();
                let first = batch.len();
                for (position, &token) in tokens[..in_batch].iter().enumerate() {
                    batch.add(token, position, seq, true);
                }
                self.running.push(Running { call: id, input, seq, done: 0, in_batch, first });
                true
            });
        }
        self.turn = left_out.unwrap_or(self.turn);
        context.use_adapters(&adapters.unwrap_or_default());
        Ok(())
    }

    /// Copies the computed vectors to the calls, and answers completed calls.
    fn take_outputs(&mut self) -> Result<()> {
        let width = self.blueprint.width;
        let context = self.context.as_mut().ok_or_else(context_missing)?;
        let (mut tokens, mut complete) = (0, Vec::new());
        for (index, running) in self.running.iter_mut().enumerate() {
            let Call { job, values, .. } =
                self.calls.get_mut(&running.call).ok_or_else(context_missing)?;
            let length = job.inputs[running.input].len();
            let rows = &mut values[job.starts[running.input] * width..][..];
            if self.blueprint.pools_itself {
                rows[..width].copy_from_slice(context.sequence_embedding(running.seq, width)?);
            } else {
                for offset in 0..running.in_batch {
                    let (position, index) = (running.done + offset, running.first + offset);
                    let wanted = match job.pooling {
                        Pooling::Cls => position == 0,
                        Pooling::Last => position + 1 == length,
                        _ => true,
                    };
                    if wanted {
                        let row = context.embedding(index, width)?;
                        pool_token(job.pooling, rows, row, position);
                    }
                }
            }
            tokens += running.in_batch as u64;
            running.done += std::mem::take(&mut running.in_batch);
            if running.done == length {
                if job.pooling == Pooling::Mean && !self.blueprint.pools_itself {
                    rows[..width].iter_mut().for_each(|number| *number /= length as f32);
                }
                complete.push(index);
            }
        }
        self.progress.update(|progress| {
            progress.steps += 1;
            progress.tokens += tokens;
            progress.inputs += complete.len() as u64;
        });
        for index in complete.into_iter().rev() {
            let Running { call: id, seq, .. } = self.running.swap_remove(index);
            self.leave(seq);
            let call = self.calls.get_mut(&id).ok_or_else(context_missing)?;
            call.missing -= 1;
            if call.missing == 0 {
                self.end(id, None);
            }
        }
        Ok(())
    }
}

impl ServiceLoop for BatchLoop {
    type ServiceCommand = Box<Job>;

    fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    fn accept(&mut self, job: Box<Job>) -> Option<Instant> {
        self.calls.insert(self.arrivals, Call::new(*job, self.blueprint.width));
        self.arrivals += 1;
        None
    }

    fn drop_cancelled(&mut self) {
        let given_up = |(id, call): (&u64, &Call)| call.is_abandoned().then_some(*id);
        for id in self.calls.iter().filter_map(given_up).collect::<Vec<_>>() {
            self.end(id, Some(Err(cancelled(&self.calls[&id].job.cancel))));
        }
    }

    fn step(&mut self) -> Result<()> {
        self.make_room();
        if self.calls.is_empty() {
            return Ok(());
        }
        self.fill_batch()?;
        let owners: BTreeMap<u64, CancelToken> = self
            .running
            .iter()
            .filter(|running| running.in_batch > 0)
            .map(|running| (running.call, self.calls[&running.call].job.cancel.clone()))
            .collect();
        let context = self.context.as_mut().ok_or_else(context_missing)?;
        match context.decode(owners.into_values())? {
            Decoded::Done => self.take_outputs(),
            Decoded::Aborted => {
                // All inputs in the batch were cancelled; they are removed before the next step.
                self.restart_all();
                Ok(())
            }
            Decoded::NoRoom if self.running.len() > 1 => {
                // Some types of memory run out before all cells are used. Continue with one input at a time.
                self.restart_all();
                self.free_sequences.truncate(1);
                Ok(())
            }
            Decoded::NoRoom => Err(Error::new(
                ErrorKind::ContextOverflow,
                format!("the engine has no room for an input of {} tokens", self.capacity),
            )
            .with_hint(Text::with_names("shorten the input, or set {truncate}"))),
        }
    }

    fn fail_all(&mut self, error: &Error) {
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.end(id, Some(Err(error.clone())));
        }
        if let Some(context) = &mut self.context {
            context.clear();
        }
    }

    fn close(&mut self) {
        self.fail_all(&closed());
    }
}

/// The remaining room in a batch.
struct BatchCapacity {
    /// Remaining tokens of the batch.
    budget: usize,
    /// Size of a batch in tokens.
    batch: usize,
    /// Free cells of the context.
    cells: usize,
    needs_single_batch: bool,
    /// Whether an input longer than a batch is waiting for cells, so that no other such input may take them.
    long_waits: bool,
}

impl BatchCapacity {
    /// Returns how many tokens of an input of `length` tokens fit now; none if it cannot start. An input that is
    /// computed in one piece fits as a whole or not at all. An empty batch accepts any input.
    fn take(&mut self, length: usize, is_empty: bool) -> Option<usize> {
        if self.needs_single_batch {
            let fits = length <= self.budget || is_empty;
            self.budget = self.budget.saturating_sub(if fits { length } else { 0 });
            return fits.then_some(length);
        }
        let is_long = length > self.batch;
        let fits = length <= self.cells || is_empty;
        if !fits || self.budget == 0 || (is_long && self.long_waits) {
            self.long_waits |= is_long;
            return None;
        }
        let taken = length.min(self.budget);
        self.budget -= taken;
        self.cells = self.cells.saturating_sub(length);
        Some(taken)
    }
}

/// Adds the vector of a token to the result rows of its text.
fn pool_token(pooling: Pooling, rows: &mut [f32], row: &[f32], position: usize) {
    let width = row.len();
    match pooling {
        Pooling::None => rows[position * width..][..width].copy_from_slice(row),
        Pooling::Mean => rows.iter_mut().zip(row).for_each(|(sum, number)| *sum += number),
        Pooling::Cls | Pooling::Last | Pooling::Rank => rows[..width].copy_from_slice(row),
    }
}

fn context_missing() -> Error {
    Error::new(ErrorKind::Internal, "there is no context for embeddings")
}

/// The error of a call that was cancelled or timed out.
pub(super) fn cancelled(cancel: &CancelToken) -> Error {
    let message = if cancel.is_past_deadline() {
        "the request took longer than its {timeout}"
    } else {
        "the request was cancelled"
    };
    Error::new(ErrorKind::Cancelled, Text::with_names(message))
}
