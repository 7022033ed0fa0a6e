//! From machines to tables.

use std::collections::{BTreeMap, VecDeque};

use super::{
    CompileError, Edge, EdgeId, Kind, MOST_ROLES, MOST_ROWS, MOST_STEPS, Place, Plan, Row, Step, Verdict,
    WrongState, key,
};
use crate::codec::Digest;
use crate::machine::{Choice, Direction, Machine, Message, Protocol, Role, State};

impl Plan {
    /// Compiles a protocol that was checked with this verdict.
    ///
    /// # Errors
    /// When the machines are not what machines are.
    pub fn compile(protocol: &Protocol, verdict: Verdict) -> Result<Self, CompileError> {
        let roles = protocol.roles.len();
        if roles > MOST_ROLES {
            return Err(CompileError::TooMany("roles"));
        }
        if roles != protocol.machines.len() {
            return Err(CompileError::Machines { roles, machines: protocol.machines.len() });
        }
        let by_label = sorted_once(protocol)?;
        let mut tables = Tables::default();
        for (role, machine) in (0u16..).map(Role).zip(&protocol.machines) {
            tables.add(protocol, role, machine)?;
        }
        tables.number_edges();
        let mut plan = Self {
            name: protocol.name.clone(),
            verdict,
            roles: protocol.roles.clone().into(),
            messages: protocol.messages.clone().into(),
            by_label,
            replaceable: tables.replaceable(),
            has_deadlines: tables.rows.iter().any(|row| row.within.is_some()),
            starts: tables.starts.into(),
            rows: tables.rows.into(),
            steps: tables.steps.into(),
            edges: tables.edges.into_keys().collect(),
            hash: Digest([0; 32]),
        };
        plan.hash = Digest::of(&plan.encode());
        Ok(plan)
    }
}

/// The messages sorted, each role and message once.
fn sorted_once(protocol: &Protocol) -> Result<Box<[Message]>, CompileError> {
    let mut names: Vec<_> = protocol.roles.iter().collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CompileError::Twice(pair[0].clone()));
    }
    let count = u32::try_from(protocol.messages.len()).map_err(|_| CompileError::TooMany("messages"))?;
    let mut messages: Vec<_> = (0..count).map(Message).collect();
    messages.sort_by_key(|message| &protocol.messages[message.0 as usize]);
    for pair in messages.windows(2) {
        let [one, other] = [pair[0], pair[1]].map(|message| &protocol.messages[message.0 as usize]);
        if one == other {
            return Err(CompileError::Twice(one.label.clone()));
        }
    }
    Ok(messages.into())
}

#[derive(Default)]
struct Tables {
    starts: Vec<Place>,
    rows: Vec<Row>,
    steps: Vec<Step>,
    edges: BTreeMap<Edge, EdgeId>,
}

impl Tables {
    /// Adds the rows that a role can reach, in the order in which they are reached.
    fn add(&mut self, protocol: &Protocol, role: Role, machine: &Machine) -> Result<(), CompileError> {
        let wrong = |state, what| {
            let role = protocol.roles[usize::from(role.0)].clone();
            CompileError::Machine { role, state, what }
        };
        let base = self.rows.len() as u32;
        self.starts.push(Place(base));
        let mut numbers = vec![None; machine.states.len()];
        *numbers.first_mut().ok_or_else(|| wrong(State(0), WrongState::Dangling))? = Some(base);
        let (mut reached, mut open) = (base + 1, VecDeque::from([State(0)]));
        while let Some(state) = open.pop_front() {
            let choice = &machine.states[state.0 as usize];
            let kind = kind_of(protocol, role, choice).map_err(|what| wrong(state, what))?;
            let first = self.steps.len();
            let mut sorted: Vec<_> = choice.steps.iter().collect();
            sorted.sort_by_key(|step| key(step.peer, step.message));
            for step in sorted {
                let next = numbers
                    .get_mut(step.next.0 as usize)
                    .ok_or_else(|| wrong(state, WrongState::Dangling))?
                    .get_or_insert_with(|| {
                        open.push_back(step.next);
                        reached += 1;
                        reached - 1
                    });
                let edge = match step.direction {
                    Direction::Send => Edge { from: role, to: step.peer },
                    Direction::Receive => Edge { from: step.peer, to: role },
                };
                let edges = self.edges.len() as u32;
                self.steps.push(Step {
                    key: key(step.peer, step.message),
                    next: Place(*next),
                    edge: *self.edges.entry(edge).or_insert(EdgeId(edges)),
                    late: step.late && kind == Kind::Sends,
                });
            }
            let steps = &self.steps[first..];
            if steps.windows(2).any(|pair| pair[0].key == pair[1].key) {
                return Err(wrong(state, WrongState::Ambiguous));
            }
            let within = choice.within.filter(|_| kind == Kind::Sends);
            let late = steps.iter().filter(|step| step.late).count();
            if late > 0 && (within.is_none() || late == steps.len()) {
                return Err(wrong(state, WrongState::Late));
            }
            let (first, count) = (first as u32, steps.len() as u32);
            self.rows.push(Row { first, count, kind, within, has_late: late > 0 });
            if self.rows.len() > MOST_ROWS {
                return Err(CompileError::TooMany("states"));
            }
            if self.steps.len() > MOST_STEPS {
                return Err(CompileError::TooMany("steps"));
            }
        }
        Ok(())
    }

    /// Numbers the edges in their order, rather than in that in which they were found.
    fn number_edges(&mut self) {
        let mut numbers = vec![EdgeId(0); self.edges.len()];
        for (index, found) in (0u32..).zip(self.edges.values_mut()) {
            numbers[found.0 as usize] = EdgeId(index);
            *found = EdgeId(index);
        }
        self.steps.iter_mut().for_each(|step| step.edge = numbers[step.edge.0 as usize]);
    }

    fn replaceable(&self) -> Box<[bool]> {
        let mut only: Vec<Option<Message>> = vec![None; self.edges.len()];
        let mut replaceable = vec![true; self.edges.len()];
        for (place, row) in (0u32..).map(Place).zip(&self.rows) {
            for step in &self.steps[row.first as usize..][..row.count as usize] {
                let edge = step.edge.0 as usize;
                let same = *only[edge].get_or_insert(step.message()) == step.message();
                replaceable[edge] &= same && (row.kind == Kind::Sends || step.next == place);
            }
        }
        replaceable.into()
    }
}

fn kind_of(protocol: &Protocol, role: Role, choice: &Choice) -> Result<Kind, WrongState> {
    let Some(first) = choice.steps.first() else { return Ok(Kind::Done) };
    for step in &choice.steps {
        if usize::from(step.peer.0) >= protocol.roles.len()
            || step.message.0 as usize >= protocol.messages.len()
        {
            return Err(WrongState::Dangling);
        }
        if step.peer == role {
            return Err(WrongState::Oneself);
        }
        if step.direction != first.direction {
            return Err(WrongState::Mixed);
        }
    }
    Ok(match first.direction {
        Direction::Send => Kind::Sends,
        Direction::Receive => Kind::Receives,
    })
}
