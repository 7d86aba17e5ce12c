//! The lookups that ours is compared with on the [toy network](Toy).

use std::time::Duration;

use dht_proto::sim::cast::Contact;
use dht_proto::sim::toy::{Outcome, Stage, Toy};

use super::reference::{self, Algorithm};

/// None of them takes longer, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(600);

/// One of them on the network that ours has with this seed: the same hosts, the same of them dead,
/// and from the table that our node had filled.
pub(crate) fn run(toy: &Toy, seed: u64, algorithm: Box<dyn Algorithm>) -> Outcome {
    let stage = toy.build(seed);
    let table = reference::table(&stage.world, stage.node);
    run_from(stage, table, algorithm)
}

/// The same, from a table of one's own.
pub(crate) fn run_from(mut stage: Stage, table: Vec<Contact>, algorithm: Box<dyn Algorithm>) -> Outcome {
    let world = &mut stage.world;
    world.kill(stage.node);
    // Those with a clock of whole seconds begin at any time within one.
    let pause = world.dice().up_to(Duration::from_secs(1));
    world.run_for(pause);
    let started = world.now();
    let asker = reference::launch(world, algorithm, table, stage.target, true);
    world.run_until(|world| reference::done(world, asker).is_some(), PATIENCE);
    let done = reference::done(world, asker).map(|at| at - started);
    stage.measure(asker, started, done)
}
