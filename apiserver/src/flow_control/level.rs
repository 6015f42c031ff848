//! How many requests of a priority level run, and in which order the others wait.
//!
//! Pure bookkeeping over all levels together, because levels lend seats to each other: [`Levels`] says who may run, its
//! caller waits. Follows `fairqueuing/queueset` of `k8s.io/apiserver/pkg/util/flowcontrol` with these simplifications:
//! every request takes one seat, queues take turns, and a level borrows what others do not use at that moment instead of
//! what was decided some seconds ago.

use std::collections::VecDeque;

use http::HeaderValue;
use skiff_apimachinery::value::Value;
use tokio::sync::oneshot;

/// A PriorityLevelConfiguration, as far as the server acts on it.
#[derive(Clone, Debug)]
pub(super) struct LevelSpec {
    pub(super) name: String,
    /// As the header says it.
    pub(super) uid: HeaderValue,
    /// Whether its requests need no seat.
    pub(super) exempt: bool,
    shares: i64,
    lendable_percent: i64,
    /// Percent of its own seats that it may have of others; `None` for as many as there are.
    borrowing_percent: Option<i64>,
    /// Queues, queues of one flow, and requests in one queue; none if it refuses instead.
    queuing: Option<(usize, usize, usize)>,
}

impl LevelSpec {
    /// Reads an object.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let exempt = spec.str_at(&["type"]) == Some("Exempt");
        let own = spec.get(if exempt { "exempt" } else { "limited" });
        let number = |field: &str| own.and_then(|own| own.i64_at(&[field]));
        let queuing = own.and_then(|own| own.at(&["limitResponse", "queuing"]));
        let queuing = queuing.map(|queuing| {
            let number =
                |field: &str| queuing.i64_at(&[field]).and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
            (number("queues"), number("handSize"), number("queueLengthLimit"))
        });
        Some(Self {
            name: object.str_at(&["metadata", "name"])?.to_owned(),
            uid: HeaderValue::from_str(object.str_at(&["metadata", "uid"]).unwrap_or("")).ok()?,
            exempt,
            shares: number("nominalConcurrencyShares").unwrap_or(if exempt { 0 } else { 30 }),
            lendable_percent: number("lendablePercent").unwrap_or(0),
            borrowing_percent: number("borrowingLimitPercent"),
            queuing,
        })
    }
}

impl LevelSpec {
    /// Whether requests may wait.
    pub(super) fn queues(&self) -> bool {
        self.queuing.is_some()
    }
}

/// All levels.
#[derive(Default)]
pub(super) struct Levels(Vec<Level>);

struct Level {
    spec: LevelSpec,
    /// Whether the configuration still has it; one that has gone stays until its last request has.
    current: bool,
    nominal: usize,
    executing: usize,
    waiting: usize,
    queues: Vec<VecDeque<oneshot::Sender<()>>>,
    /// Queue that is looked at first the next time.
    turn: usize,
}

/// What becomes of a request.
pub(super) enum Place {
    /// It runs; give the seat back by [`Levels::leave`].
    Seat,
    /// It runs when this says so; then the seat is its own.
    Queue(oneshot::Receiver<()>),
    /// There is no room.
    Refused,
}

impl Levels {
    /// Takes over a configuration; `seats` are those of the whole server.
    pub(super) fn configure(&mut self, specs: &[LevelSpec], seats: usize) {
        let shares: i64 = specs.iter().map(|spec| spec.shares).sum::<i64>().max(1);
        self.0.iter_mut().for_each(|level| level.current = false);
        for spec in specs {
            let nominal = percent_up(seats, spec.shares, shares);
            let queues = spec.queuing.map_or(0, |(queues, ..)| queues);
            match self.0.iter_mut().find(|level| level.spec.name == spec.name) {
                Some(level) => {
                    level.spec = spec.clone();
                    (level.current, level.nominal) = (true, nominal);
                    if level.queues.len() < queues {
                        level.queues.resize_with(queues, VecDeque::new);
                    }
                }
                None => {
                    let mut empty = Vec::new();
                    empty.resize_with(queues, VecDeque::new);
                    let spec = spec.clone();
                    let level =
                        Level { spec, current: true, nominal, executing: 0, waiting: 0, queues: empty, turn: 0 };
                    self.0.push(level);
                }
            }
        }
        // There may be seats now for those who wait.
        (0..self.0.len()).for_each(|index| self.fill(index));
        self.0.retain(|level| level.current || level.executing + level.waiting > 0);
    }

    /// Name and seats of every level.
    pub(super) fn nominal(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().filter(|level| level.current).map(|level| (level.spec.name.as_str(), level.nominal))
    }

    /// A request of a flow comes.
    pub(super) fn enter(&mut self, name: &str, flow: impl FnOnce() -> u64) -> Place {
        let Some(index) = self.0.iter().position(|level| level.spec.name == name) else {
            return Place::Refused;
        };
        if self.0[index].spec.exempt || (self.0[index].waiting == 0 && self.may_run(index)) {
            self.0[index].executing += 1;
            return Place::Seat;
        }
        self.0[index].queue(flow())
    }

    /// A request of this level is done. Who gets its seat is told.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(level) = self.0.iter_mut().find(|level| level.spec.name == name) {
            level.executing = level.executing.saturating_sub(1);
        }
        if self.0.iter().all(|level| level.current && level.waiting == 0) {
            return;
        }
        // One of its own level first; another level may have waited for what this one lends.
        let own = self.0.iter().position(|level| level.spec.name == name);
        let others = (0..self.0.len()).filter(|index| Some(*index) != own);
        for index in own.into_iter().chain(others).collect::<Vec<_>>() {
            self.fill(index);
        }
        self.0.retain(|level| level.current || level.executing + level.waiting > 0);
    }

    /// Gives the seats that a level has to those who wait for them.
    fn fill(&mut self, index: usize) {
        while self.0[index].waiting > 0 && self.may_run(index) {
            if self.0[index].next() {
                self.0[index].executing += 1;
            }
        }
    }

    /// A request has given up waiting. It is still in its queue, to be passed over.
    pub(super) fn give_up(&mut self, name: &str) {
        if let Some(level) = self.0.iter_mut().find(|level| level.spec.name == name) {
            for queue in &mut level.queues {
                let before = queue.len();
                queue.retain(|waiter| !waiter.is_closed());
                level.waiting -= before - queue.len();
            }
        }
    }

    /// Whether one more of this level may run.
    fn may_run(&self, index: usize) -> bool {
        let level = &self.0[index];
        // One request of a level may always run, even if the level has no seat at all, as upstream.
        if level.executing < level.nominal.max(1) {
            return true;
        }
        let borrowed = level.executing.saturating_sub(level.nominal);
        if level.spec.borrowing_percent.is_some_and(|limit| borrowed >= percent(level.nominal, limit)) {
            return false;
        }
        let unused = |other: &Level| {
            let lendable = percent(other.nominal, other.spec.lendable_percent);
            lendable.min(other.nominal.saturating_sub(other.executing))
        };
        let lent: usize = self.0.iter().filter(|l| !l.spec.exempt).map(|l| l.executing.saturating_sub(l.nominal)).sum();
        let free: usize =
            self.0.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, other)| unused(other)).sum();
        lent < free
    }
}

impl Level {
    fn queue(&mut self, flow: u64) -> Place {
        let Some((_, hand, longest)) = self.spec.queuing else { return Place::Refused };
        let hand = hand.min(self.queues.len());
        let Some(queue) = hand_of(flow, self.queues.len(), hand).into_iter().min_by_key(|at| self.queues[*at].len())
        else {
            return Place::Refused;
        };
        if self.queues[queue].len() >= longest {
            return Place::Refused;
        }
        let (sender, receiver) = oneshot::channel();
        self.queues[queue].push_back(sender);
        self.waiting += 1;
        Place::Queue(receiver)
    }

    /// Tells the next one; whether somebody heard it.
    fn next(&mut self) -> bool {
        let count = self.queues.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            if let Some(waiter) = self.queues[at].pop_front() {
                self.turn = (at + 1) % count;
                self.waiting -= 1;
                return waiter.send(()).is_ok();
            }
        }
        self.waiting = 0;
        false
    }
}

/// The queues of a flow: a few of all, other ones for most other flows.
fn hand_of(flow: u64, queues: usize, size: usize) -> Vec<usize> {
    let mut hand: Vec<usize> = Vec::with_capacity(size);
    let mut rest = flow;
    for dealt in 0..size {
        let left = (queues - dealt) as u64;
        let mut card = usize::try_from(rest % left).unwrap_or(0);
        rest /= left;
        let mut sorted = hand.clone();
        sorted.sort_unstable();
        for taken in sorted {
            if card >= taken {
                card += 1;
            }
        }
        hand.push(card);
    }
    hand
}

/// So many percent of `of`, rounded to the nearest.
fn percent(of: usize, percent: i64) -> usize {
    let hundredfold = (of as u64).saturating_mul(u64::try_from(percent).unwrap_or(0));
    usize::try_from(hundredfold.saturating_add(50) / 100).unwrap_or(usize::MAX)
}

/// `part` of `whole` as a share of `of`, rounded up.
fn percent_up(of: usize, part: i64, whole: i64) -> usize {
    let (of, part, whole) = (of as u64, u64::try_from(part).unwrap_or(0), u64::try_from(whole).unwrap_or(1).max(1));
    usize::try_from((of * part).div_ceil(whole)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use skiff_apimachinery::value;

    use super::*;

    fn limited(name: &str, shares: i64, lendable: i64, response: Value) -> LevelSpec {
        let limited =
            value!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        let object = value!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}});
        LevelSpec::of(&object).expect("a level")
    }

    fn queue() -> Value {
        value!({"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 2}})
    }

    fn fill(levels: &mut Levels, name: &str) -> usize {
        (0..1000).take_while(|_| matches!(levels.enter(name, || 1), Place::Seat)).count()
    }

    #[test]
    fn seats_are_shared_as_upstream_shares_them() {
        let names = [("a", 5), ("b", 20), ("c", 10), ("d", 40), ("e", 30), ("f", 40), ("g", 100)];
        let specs = names.map(|(name, shares)| limited(name, shares, 0, queue()));
        let mut levels = Levels::default();
        levels.configure(&specs, 600);
        let nominal = levels.nominal().map(|(_, seats)| seats).collect::<Vec<_>>();
        assert_eq!(nominal, [13, 49, 25, 98, 74, 98, 245]);
    }

    #[test]
    fn a_level_borrows_what_others_lend_and_do_not_use() {
        let mut levels = Levels::default();
        levels.configure(&[limited("a", 1, 0, value!({"type": "Reject"})), limited("b", 1, 50, queue())], 20);
        assert_eq!(fill(&mut levels, "a"), 15, "ten of its own, five of the other's");
        assert!(matches!(levels.enter("a", || 1), Place::Refused));
        assert_eq!(fill(&mut levels, "b"), 10, "its own are its own");
    }

    #[test]
    fn who_waits_gets_the_next_seat_and_flows_take_turns() {
        let mut levels = Levels::default();
        levels.configure(&[limited("a", 1, 0, queue())], 1);
        assert!(matches!(levels.enter("a", || 1), Place::Seat));
        let mut wait = |flow: u64| match levels.enter("a", || flow) {
            Place::Queue(receiver) => Some(receiver),
            _ => None,
        };
        let mut greedy = (0..4).map(|_| wait(1).expect("a place")).collect::<Vec<_>>();
        assert!(wait(1).is_none(), "both of its queues are full");
        let mut other = wait(5).expect("another flow has other queues");
        drop(greedy.remove(0));
        levels.give_up("a");
        for _ in 0..3 {
            levels.leave("a");
        }
        assert!(other.try_recv().is_ok(), "not behind all of the greedy one");
        assert_eq!(greedy.iter_mut().filter_map(|waiter| waiter.try_recv().ok()).count(), 2);
    }

    #[test]
    fn who_waits_gets_the_seats_of_a_new_configuration() {
        let mut levels = Levels::default();
        levels.configure(&[limited("a", 1, 0, queue())], 1);
        assert_eq!(fill(&mut levels, "a"), 1);
        let Place::Queue(mut first) = levels.enter("a", || 1) else { panic!("there is a place") };
        let Place::Queue(mut second) = levels.enter("a", || 1) else { panic!("there is a place") };
        levels.configure(&[limited("a", 1, 0, queue())], 2);
        assert!(first.try_recv().is_ok() && second.try_recv().is_err(), "one more, and no other");
    }

    #[test]
    fn a_level_that_is_gone_serves_those_who_came_before() {
        let mut levels = Levels::default();
        levels.configure(&[limited("a", 1, 0, queue()), limited("b", 1, 0, queue())], 2);
        assert!(matches!(levels.enter("a", || 1), Place::Seat));
        let Place::Queue(mut waiting) = levels.enter("a", || 1) else { panic!("there is a place") };
        levels.configure(&[limited("b", 1, 0, queue())], 2);
        levels.leave("a");
        assert!(waiting.try_recv().is_ok());
        levels.leave("a");
        assert!(matches!(levels.enter("a", || 1), Place::Refused), "nothing is left of it");
        assert_eq!(levels.0.len(), 1);
    }

    #[test]
    fn a_level_without_seats_lets_one_run_at_a_time() {
        let mut levels = Levels::default();
        levels.configure(&[limited("a", 0, 0, value!({"type": "Reject"}))], 10);
        assert_eq!(fill(&mut levels, "a"), 1);
        levels.leave("a");
        assert_eq!(fill(&mut levels, "a"), 1);
    }

    #[test]
    fn a_hand_has_no_card_twice() {
        for flow in [0, 1, 77, u64::MAX, 1 << 40] {
            let mut hand = hand_of(flow, 16, 4);
            hand.sort_unstable();
            hand.dedup();
            assert!(hand.len() == 4 && hand.iter().all(|card| *card < 16), "{flow}: {hand:?}");
        }
    }
}
