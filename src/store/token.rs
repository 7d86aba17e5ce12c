//! Write tokens: proof that the sender of an announce or put can receive at its source address (BEP 5).

use core::time::Duration;

use sha1_smol::Sha1;

use crate::base::addr::Endpoint;
use crate::base::id::ID_LEN;
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// Length of the tokens issued here; deployed nodes use 4 to 32 bytes.
pub(crate) const TOKEN_LEN: usize = 8;

/// Maximum length of a returned token, including trailing NUL bytes.
///
/// One family of clients keeps tokens in 20 bytes.
const MAX_PADDED: usize = 32;

/// How long a secret issues tokens; it accepts them for as long again (BEP 5).
pub(crate) const ROTATION: Duration = Duration::from_secs(300);

/// Issues tokens and validates them without storing any.
///
/// A token is the head of SHA-1 over a 128-bit secret, the querying node's IP address and the target, so it is
/// worthless from another address or for another target. All parts have fixed lengths and the tail of the hash
/// remains unknown, so no token can be extended to another.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Tokens {
    current: [u8; 16],
    previous: [u8; 16],
    due: Instant,
}

impl Tokens {
    pub(crate) fn new(now: Instant, rng: &mut Rng) -> Self {
        Self { current: rng.bytes(), previous: rng.bytes(), due: now + ROTATION }
    }

    /// Returns the token for a node at this IP address and for this infohash or target.
    ///
    /// The port does not matter.
    pub(crate) fn issue(&self, querier: Endpoint, target: &[u8; ID_LEN]) -> [u8; TOKEN_LEN] {
        digest(&self.current, querier, target)
    }

    /// Whether `token` was issued to this IP address for this target by one of the last two secrets, padded or
    /// not.
    ///
    /// Takes the same time for every wrong token of the right length.
    pub(crate) fn is_valid(&self, token: &[u8], querier: Endpoint, target: &[u8; ID_LEN]) -> bool {
        let Some((&token, padding)) = token.split_first_chunk() else { return false };
        if padding.len() > MAX_PADDED - TOKEN_LEN || padding.iter().any(|&byte| byte != 0) {
            return false;
        }
        let token = u64::from_ne_bytes(token);
        // Two comparisons of whole words, joined without a branch, so that timing does not reveal single bytes.
        let [current, previous] = [&self.current, &self.previous]
            .map(|secret| token ^ u64::from_ne_bytes(digest(secret, querier, target)));
        (current == 0) | (previous == 0)
    }

    /// Returns when [`rotate`](Self::rotate) is due.
    pub(crate) const fn next_rotation(&self) -> Instant {
        self.due
    }

    /// Replaces expired secrets.
    ///
    /// Early calls are harmless; after a long pause both secrets are replaced.
    pub(crate) fn rotate(&mut self, now: Instant, rng: &mut Rng) {
        if now < self.due {
            return;
        }
        let late = now - self.due;
        self.previous = if late < ROTATION { self.current } else { rng.bytes() };
        self.current = rng.bytes();
        let into_interval = late.as_micros() % ROTATION.as_micros();
        self.due = now + (ROTATION - Duration::from_micros(into_interval as u64));
    }
}

/// Hashes 52 bytes, with IPv4 addresses in mapped form: one block of SHA-1.
///
/// NUL bytes are avoided, since the nodes that pad tokens truncate them there; that costs a twentieth of a bit.
fn digest(secret: &[u8; 16], querier: Endpoint, target: &[u8; ID_LEN]) -> [u8; TOKEN_LEN] {
    let mut message = [0; 16 + 16 + ID_LEN];
    message[..16].copy_from_slice(secret);
    message[16..32].copy_from_slice(querier.ip_bytes());
    message[32..].copy_from_slice(target);
    let [a, b, c, d, e, f, g, h, ..] = Sha1::from(message).digest().bytes();
    [a, b, c, d, e, f, g, h].map(|byte| byte.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERIER: Endpoint = Endpoint::v4([1, 2, 3, 4], 6881);
    const TARGET: [u8; ID_LEN] = [7; ID_LEN];

    fn tokens() -> (Tokens, Rng) {
        let mut rng = Rng::new([1; 32]);
        (Tokens::new(at(0), &mut rng), rng)
    }

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn t_03_one_ip_and_infohash_always_get_the_same_token() {
        let (tokens, _) = tokens();
        assert_eq!(tokens.issue(QUERIER, &TARGET), tokens.issue(QUERIER, &TARGET));
        let other_port = Endpoint::v4([1, 2, 3, 4], 1);
        assert_eq!(tokens.issue(QUERIER, &TARGET), tokens.issue(other_port, &TARGET));
        assert!(tokens.is_valid(&tokens.issue(QUERIER, &TARGET), other_port, &TARGET));
    }

    #[test]
    fn t_01_a_token_serves_no_other_ip_and_no_other_infohash() {
        let (tokens, _) = tokens();
        let token = tokens.issue(QUERIER, &TARGET);
        let other = Endpoint::v4([1, 2, 3, 5], 6881);
        assert_ne!(token, tokens.issue(other, &TARGET));
        assert!(!tokens.is_valid(&token, other, &TARGET));
        assert!(!tokens.is_valid(&token, QUERIER, &[8; ID_LEN]));
    }

    #[test]
    fn t_01_ipv6_tokens_depend_on_every_byte_of_the_address() {
        let (tokens, _) = tokens();
        let mut ip = [0x20; 16];
        let token = tokens.issue(Endpoint::v6(ip, 1), &TARGET);
        assert!(tokens.is_valid(&token, Endpoint::v6(ip, 1), &TARGET));
        for byte in 0..16 {
            ip[byte] ^= 1;
            assert!(!tokens.is_valid(&token, Endpoint::v6(ip, 1), &TARGET), "{byte}");
            ip[byte] ^= 1;
        }
    }

    #[test]
    fn t_02_a_token_is_valid_after_one_rotation_but_not_after_two() {
        let (mut tokens, mut rng) = tokens();
        let token = tokens.issue(QUERIER, &TARGET);
        tokens.rotate(at(299), &mut rng);
        assert_eq!(tokens.issue(QUERIER, &TARGET), token);
        tokens.rotate(at(300), &mut rng);
        assert_ne!(tokens.issue(QUERIER, &TARGET), token);
        assert!(tokens.is_valid(&token, QUERIER, &TARGET));
        assert!(tokens.is_valid(&tokens.issue(QUERIER, &TARGET), QUERIER, &TARGET));
        tokens.rotate(at(599), &mut rng);
        assert!(tokens.is_valid(&token, QUERIER, &TARGET));
        tokens.rotate(at(600), &mut rng);
        assert!(!tokens.is_valid(&token, QUERIER, &TARGET));
    }

    #[test]
    fn t_02_rotation_is_due_every_five_minutes_and_late_calls_do_not_shift_it() {
        let (mut tokens, mut rng) = tokens();
        assert_eq!(tokens.next_rotation(), at(300));
        tokens.rotate(at(310), &mut rng);
        assert_eq!(tokens.next_rotation(), at(600));
        tokens.rotate(at(600), &mut rng);
        assert_eq!(tokens.next_rotation(), at(900));
    }

    #[test]
    fn t_02_after_a_pause_of_two_intervals_both_secrets_are_gone() {
        let (mut tokens, mut rng) = tokens();
        let token = tokens.issue(QUERIER, &TARGET);
        tokens.rotate(at(599), &mut rng);
        assert!(tokens.is_valid(&token, QUERIER, &TARGET));

        let (mut tokens, mut rng) = self::tokens();
        tokens.rotate(at(600), &mut rng);
        assert!(!tokens.is_valid(&token, QUERIER, &TARGET));
        tokens.rotate(at(86_400 + 17), &mut rng);
        assert_eq!(tokens.next_rotation(), at(86_400 + 300));
        tokens.rotate(Instant::from_micros(u64::MAX), &mut rng);
    }

    #[test]
    fn t_07_tokens_have_8_bytes_and_may_be_padded_with_nul_up_to_32() {
        let (tokens, _) = tokens();
        let token = tokens.issue(QUERIER, &TARGET);
        assert_eq!(token.len(), 8);
        assert!(!tokens.is_valid(b"", QUERIER, &TARGET));
        assert!(!tokens.is_valid(&token[..7], QUERIER, &TARGET));
        assert!(!tokens.is_valid(&[0; 200], QUERIER, &TARGET));
        for len in 8..=200 {
            let mut padded = [0; 200];
            padded[..8].copy_from_slice(&token);
            assert_eq!(tokens.is_valid(&padded[..len], QUERIER, &TARGET), len <= 32, "{len}");
            padded[len - 1] ^= 1;
            assert!(!tokens.is_valid(&padded[..len], QUERIER, &TARGET), "{len}");
        }
    }

    #[test]
    fn t_07_tokens_have_no_nul_byte() {
        let (mut tokens, mut rng) = tokens();
        for round in 1..2000 {
            assert!(!tokens.issue(QUERIER, &TARGET).contains(&0));
            tokens.rotate(at(round * 300), &mut rng);
        }
    }

    #[test]
    fn t_09_garbage_and_every_flipped_bit_are_refused() {
        let (tokens, _) = tokens();
        assert!(!tokens.is_valid(&[0; 8], QUERIER, &TARGET));
        let token = u64::from_be_bytes(tokens.issue(QUERIER, &TARGET));
        for bit in 0..64 {
            assert!(!tokens.is_valid(&(token ^ 1 << bit).to_be_bytes(), QUERIER, &TARGET), "{bit}");
        }
    }

    #[test]
    fn t_09_another_seed_gives_other_tokens() {
        let other = Tokens::new(at(0), &mut Rng::new([2; 32]));
        assert_ne!(tokens().0.issue(QUERIER, &TARGET), other.issue(QUERIER, &TARGET));
        assert!(size_of::<Tokens>() <= 48);
    }
}
