//! Nodes that are stopped and continued from their checkpoints. A test that includes this file needs
//! `scenario` beside it, in the root of its crate.
#![allow(unreachable_pub, reason = "every user takes a part of it")]

use dht_proto::Node;

use crate::scenario::node::{Chip, Interlude};

/// Stops the node and continues it from its checkpoint.
pub fn continue_node(node: &mut Node) {
    *node = Node::from_checkpoint(&node.checkpoint()).expect("a node can continue from what it writes");
}

pub struct Continued;

impl Interlude for Continued {
    fn heap(&self, node: &mut Node) {
        continue_node(node);
    }

    fn chip(&self, node: &mut Node<Chip>) {
        let continued = Node::from_checkpoint_in(Chip::new(), &node.checkpoint());
        *node = continued.expect("a node can continue from what it writes");
    }
}
