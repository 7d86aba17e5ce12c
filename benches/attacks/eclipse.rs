//! Sybils around an infohash, and liars that list a victim.

use dht_proto::sim::actors::SybilStrategy;
use dht_proto::sim::sybil::{Outcome, SybilAttack};

/// Prints the success of lookups and announces among Sybils.
pub(crate) fn print(honest: usize, seeds: u64) {
    println!("\n{honest} honest hosts, {seeds} seeds: lookups that find the peer, announces at honest hosts");
    println!("{:<54}{:>9}{:>11}{:>11}", "", "found", "announces", "datagrams");
    let calm = SybilAttack { honest, ..SybilAttack::default() };
    row("nobody attacks", &calm, seeds);
    let one = SybilAttack { attackers: 8, is_one_subnet: true, ..calm.clone() };
    row("8 of one /24, naming each other", &one, seeds);
    for reach in [2.0, 3.0, 4.0, 6.0] {
        let cautious = SybilAttack { cautious: Some(reach), ..calm.clone() };
        row(&format!("up to 8 that are careful: the 8th of all at {reach}/N"), &cautious, seeds);
    }
    for is_secure in [false, true] {
        let mut calm = calm.clone();
        calm.config.enforce_secure_ids = is_secure;
        let suffix = if is_secure { ", ids that fit" } else { "" };
        for (strategy, name, counts) in [
            (SybilStrategy::Mutual, "naming each other", &[8, 20, 100][..]),
            (SybilStrategy::Junk, "naming nodes that do not exist", &[8, 20, 100]),
            (SybilStrategy::Silent, "silent", &[8, 20, 100, 300]),
        ] {
            for &attackers in counts {
                let attack = SybilAttack { attackers, strategy, ..calm.clone() };
                row(&format!("{attackers} of separate /24s, {name}{suffix}"), &attack, seeds);
            }
        }
    }
}

/// Prints the datagrams to a victim that responses list.
pub(crate) fn print_reflection(honest: usize, seeds: u64) {
    println!(
        "\n{honest} honest hosts, {seeds} seeds: datagrams to a victim for one lookup and announce, the most"
    );
    for is_subnet in [false, true] {
        for attackers in [1, 5, 20, 100] {
            let strategy = SybilAttack::victim(is_subnet);
            let attack = SybilAttack { honest, attackers, strategy, ..SybilAttack::default() };
            let most = outcomes(&attack, seeds).map(|it| it.to_victim[usize::from(is_subnet)]).max();
            let of = if is_subnet { "addresses of one /24" } else { "ports of one address" };
            println!("{:<54}{:>9}", format!("{attackers} liars, {of}"), most.unwrap_or(0));
        }
    }
}

fn row(name: &str, attack: &SybilAttack, seeds: u64) {
    let all: Vec<Outcome> = outcomes(attack, seeds).collect();
    let mean = |of: fn(&Outcome) -> usize| all.iter().map(of).sum::<usize>() as f64 / all.len() as f64;
    let found = all.iter().filter(|it| it.found).count();
    println!(
        "{name:<54}{:>9}{:>11.1}{:>11.1}",
        format!("{found}/{}", all.len()),
        mean(|it| it.honest_announces),
        mean(|it| it.datagrams),
    );
}

fn outcomes(attack: &SybilAttack, seeds: u64) -> impl Iterator<Item = Outcome> {
    (1..=seeds).map(|seed| attack.run(seed))
}
