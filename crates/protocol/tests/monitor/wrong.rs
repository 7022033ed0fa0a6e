//! Monitors that are wrong on purpose: each must be seen.

use std::sync::Arc;
use std::time::Duration;

use sessile_protocol::machine::{Direction, Message, Protocol, Role, State};
use sessile_protocol::monitor::event::{By, Close, Event};
use sessile_protocol::monitor::setup::{Buffer, Setup, WhenFull};
use sessile_protocol::monitor::{
    CloseError, Line, Monitor, Offer, Received, RecvError, SendError, Sent, replay,
};
use sessile_protocol::plan::{Plan, Verdict};

use crate::draw::{Draw, Drawn, protocol};
use crate::support::{fifo, plan};
use crate::world::{Seen, Subject, draw_setup, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// Looks at who speaks to whom, not at what is said.
    TakesAnyMessage,
    /// Looks at what is said, not at who says it.
    TakesAnySender,
    /// Reports what it refused as sent.
    Flatters,
    /// Reports what was lost as sent.
    HidesLoss,
    /// Makes room by losing the oldest message rather than the newest.
    LosesTheOldest,
    /// Loses a message now and then.
    Loses,
    DeliversTwice,
    DeliversTheLaterFirst,
    NeverWakes,
    WakesTheReceiver,
    OffersTooLittle,
    OffersWhatItRefuses,
    /// Offers what has no room as ready.
    ForgetsRoom,
    /// Refuses whoever speaks before the last message was heard.
    TakesTurns,
    EndsWithTheFirstThatIsDone,
    ClosesWithoutDraining,
    /// A buffer holds one more than it should.
    OneMore,
    /// A full buffer is an error to who should wait.
    DoesNotWait,
    /// Grows without a limit.
    GrowsOn,
    /// Keeps all where the last would do.
    KeepsAll,
    /// A step of the tables leads elsewhere.
    LeadsElsewhere,
    /// Every step back to a loop leads to the state after its beginning.
    ReturnsTooFar,
    /// The tables lack a step.
    LacksAStep,
    /// The tables have a step that the protocol has not.
    HasAnotherStep,
    /// The tables confuse two messages of a state.
    ConfusesMessages,
    /// The tables know nothing of deadlines.
    ForgetsDeadlines,
    /// What is for when a deadline has passed is offered before, and not after.
    OffersTheLateEarly,
    /// A deadline is a second later.
    GivesMoreTime,
}

use Mistake::*;

const ALL: [Mistake; 28] = [
    TakesAnyMessage,
    TakesAnySender,
    Flatters,
    HidesLoss,
    LosesTheOldest,
    Loses,
    DeliversTwice,
    DeliversTheLaterFirst,
    NeverWakes,
    WakesTheReceiver,
    OffersTooLittle,
    OffersWhatItRefuses,
    ForgetsRoom,
    TakesTurns,
    EndsWithTheFirstThatIsDone,
    ClosesWithoutDraining,
    OneMore,
    DoesNotWait,
    GrowsOn,
    KeepsAll,
    LeadsElsewhere,
    ReturnsTooFar,
    LacksAStep,
    HasAnotherStep,
    ConfusesMessages,
    ForgetsDeadlines,
    OffersTheLateEarly,
    GivesMoreTime,
];

struct Wrong {
    monitor: Monitor,
    mistake: Mistake,
    draw: Draw,
    kept: Option<Received>,
}

impl Wrong {
    fn can_send(&self, role: Role) -> impl Iterator<Item = Offer> {
        self.monitor.offered(role).filter(|offer| offer.direction == Direction::Send)
    }
}

impl Subject for Wrong {
    fn send(&mut self, mut line: Line) -> Result<Sent, SendError> {
        let is_offered = self.can_send(line.from).any(|o| (o.peer, o.message) == (line.to, line.message));
        match self.mistake {
            TakesAnyMessage if !is_offered => {
                let there = self.can_send(line.from).find(|offer| offer.peer == line.to);
                line.message = there.map_or(line.message, |offer| offer.message);
            }
            TakesAnySender if !is_offered => {
                let roles = self.monitor.plan().roles().len() as u16;
                let says = |role: &Role| self.can_send(*role).any(|offer| offer.message == line.message);
                line.from = (0..roles).map(Role).find(says).unwrap_or(line.from);
                line.to = self.can_send(line.from).next().map_or(line.to, |offer| offer.peer);
            }
            TakesTurns if self.monitor.queued(line.from, line.to) > 0 => {
                line.from = line.to;
            }
            _ => {}
        }
        let (from, to, again) = (line.from, line.to, line.clone());
        let sent = self.monitor.send(line);
        match (self.mistake, &sent) {
            (Flatters, Err(SendError::Violation(_))) | (HidesLoss, Ok(Sent::Lost)) => Ok(Sent::Queued),
            (LosesTheOldest, Ok(Sent::Lost)) => {
                let _ = self.monitor.recv(to, Some(from));
                self.monitor.send(again)
            }
            (Loses, Ok(Sent::Queued)) if self.draw.one_in(10) => {
                let _ = self.monitor.recv(to, Some(from));
                sent
            }
            (EndsWithTheFirstThatIsDone, Ok(_)) if self.monitor.offered(from).next().is_none() => {
                let _ = self.monitor.close(By::Operator, Close::Abort);
                sent
            }
            _ => sent,
        }
    }

    fn recv(&mut self, role: Role, from: Option<Role>) -> Result<Received, RecvError> {
        if self.mistake == DeliversTwice
            && let Some(kept) = self.kept.take_if(|_| self.draw.one_in(5))
        {
            return Ok(kept);
        }
        let mut received = self.monitor.recv(role, from)?;
        match self.mistake {
            NeverWakes => received.woken = None,
            WakesTheReceiver => received.woken = received.woken.map(|_| role),
            DeliversTwice => self.kept = Some(received.clone()),
            DeliversTheLaterFirst => {
                if let Ok(later) = self.monitor.recv(role, from) {
                    return Ok(later);
                }
            }
            _ => {}
        }
        Ok(received)
    }

    fn offered(&self, role: Role) -> Vec<Offer> {
        let mut offered: Vec<Offer> = self.monitor.offered(role).collect();
        match (self.mistake, offered.first_mut()) {
            (OffersTooLittle, _) => drop(offered.pop()),
            (OffersWhatItRefuses, Some(first)) => first.message = Message(first.message.0 ^ 1),
            (ForgetsRoom, _) => offered.iter_mut().for_each(|offer| offer.ready = true),
            _ => {}
        }
        offered
    }

    fn close(&mut self, how: Close) -> Result<(), CloseError> {
        let how = if self.mistake == ClosesWithoutDraining { Close::Abort } else { how };
        self.monitor.close(By::Operator, how)
    }

    fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }
}

/// The tables with a mistake; they may still mean the same.
fn wrong_plan(protocol: &Protocol, mistake: Mistake, draw: &mut Draw) -> Option<Arc<Plan>> {
    let mut wrong = protocol.clone();
    let machine = draw.below(wrong.machines.len());
    let states = wrong.machines[machine].states.len();
    let state = draw.below(states);
    let messages = wrong.messages.len();
    let steps = &mut wrong.machines[machine].states[state].steps;
    let step = draw.below(steps.len());
    match mistake {
        LeadsElsewhere => steps.get_mut(step)?.next = State(draw.below(states) as u32),
        ReturnsTooFar => {
            for state in 0..states {
                for step in &mut wrong.machines[machine].states[state].steps {
                    if step.next.0 <= state as u32 && (step.next.0 as usize) + 1 < states {
                        step.next.0 += 1;
                    }
                }
            }
        }
        LacksAStep => drop((step < steps.len()).then(|| steps.remove(step))?),
        HasAnotherStep => {
            let mut other = *steps.get(step)?;
            other.message = Message(draw.below(messages) as u32);
            steps.push(other);
        }
        ConfusesMessages => {
            let other = (step + 1) % steps.len().max(1);
            let message = steps.get(other).filter(|_| other != step)?.message;
            steps[other].message = std::mem::replace(&mut steps[step].message, message);
        }
        ForgetsDeadlines | OffersTheLateEarly | GivesMoreTime => {
            for state in wrong.machines.iter_mut().flat_map(|machine| &mut machine.states) {
                match mistake {
                    ForgetsDeadlines => state.within = None,
                    GivesMoreTime => {
                        state.within = state.within.map(|within| within + Duration::from_secs(1))
                    }
                    _ => {}
                }
                if mistake != GivesMoreTime {
                    state.steps.iter_mut().for_each(|step| step.late = false);
                }
            }
        }
        _ => return Some(plan(protocol)),
    }
    Plan::compile(&wrong, Verdict::Proved).ok().map(Arc::new)
}

fn wrong_setup(setup: &Setup, mistake: Mistake) -> Setup {
    let mut wrong = setup.clone();
    for channel in &mut wrong.channels {
        match (mistake, &mut channel.buffer) {
            (OneMore, Buffer::Fifo { capacity, when_full: WhenFull::Block }) => *capacity += 1,
            (DoesNotWait, Buffer::Fifo { when_full, .. }) if *when_full == WhenFull::Block => {
                *when_full = WhenFull::Error;
            }
            (GrowsOn, Buffer::Fifo { when_full: WhenFull::Grow { max }, .. }) => *max += 1000,
            (KeepsAll, buffer @ Buffer::Latest) => *buffer = fifo(100, WhenFull::Block),
            _ => {}
        }
    }
    wrong
}

/// Runs one seed with a mistake; the error says what was seen. `None` when the mistake cannot be made.
fn run_wrong(drawn: &Drawn, mistake: Mistake, seed: u64) -> Option<Result<Vec<Event>, String>> {
    let mut draw = Draw(seed);
    let right = plan(&drawn.protocol);
    let setup = draw_setup(&right, &mut draw);
    let plan = wrong_plan(&drawn.protocol, mistake, &mut draw.clone())?;
    let monitor = Monitor::open(&plan, wrong_setup(&setup, mistake)).ok()?;
    let mut wrong = Wrong { monitor, mistake, draw: draw.clone(), kept: None };
    Some(run(drawn, &setup, &mut wrong, &mut draw, &mut Seen::default()))
}

#[test]
fn every_wrong_monitor_is_seen() {
    for mistake in ALL {
        let seen = (0..3000).find_map(|seed| {
            let what = run_wrong(&protocol(seed), mistake, seed)?.err()?;
            Some((seed, what))
        });
        match seen {
            Some((seed, what)) => {
                println!("{mistake:?}: seed {seed}: {}", what.chars().take(120).collect::<String>())
            }
            None => panic!("{mistake:?} was not seen"),
        }
    }
}

/// A log in which one event is missing, there twice, exchanged with the next or changed is none.
#[test]
fn no_log_with_a_wrong_event_is_replayed() {
    let mut tried = 0;
    for seed in 0..200 {
        let drawn = protocol(seed);
        let (plan, mut draw) = (plan(&drawn.protocol), Draw(seed));
        let setup = draw_setup(&plan, &mut draw);
        let mut monitor = Monitor::open(&plan, setup.clone()).unwrap();
        let log = run(&drawn, &setup, &mut monitor, &mut draw, &mut Seen::default()).unwrap();
        let is_refused = |wrong: Vec<Event>, what: &str, at: usize| {
            assert!(replay(&plan, wrong).is_err(), "seed {seed}: event {at} {what}: {:?}", log[at]);
        };
        for at in 0..log.len() {
            if at + 1 < log.len() {
                is_refused([&log[..at], &log[at + 1..]].concat(), "is missing", at);
                let mut swapped = log.clone();
                swapped.swap(at, at + 1);
                is_refused(swapped, "is exchanged with the next", at);
            }
            is_refused([&log[..=at], &log[at..]].concat(), "is there twice", at);
            let mut changed = log.clone();
            changed[at].index += 1;
            is_refused(changed, "has another number", at);
            tried += 1;
        }
    }
    assert!(tried > 3000, "{tried}");
}
