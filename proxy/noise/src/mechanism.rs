//! The exact discrete Laplace mechanism (Canonne, Kamath, Steinke 2020): integers from end to end, so that no
//! floating-point bit can tell the exact value.

/// A source of random bytes.
pub trait Random {
    /// Fills `bytes`, or says why it cannot.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// There is no randomness; nothing may be released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct RandomError(pub String);

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|e| RandomError(e.to_string()))
    }
}

const NANO: u128 = 1_000_000_000;

/// Noise with P[X = k] ∝ exp(−ε·|k| / Δ): `epsilon_nano` is ε in 10⁻⁹ (1 to 10¹²), `sensitivity` is Δ (1 to 10⁶).
/// Values out of these bounds are brought into them on the side of more noise.
pub fn noise(epsilon_nano: u64, sensitivity: u64, random: &mut impl Random) -> Result<i64, RandomError> {
    // Scale t/s = Δ/ε as a fraction of integers.
    let s = u128::from(epsilon_nano.clamp(1, 1_000_000_000_000));
    let t = u128::from(sensitivity.clamp(1, 1_000_000)) * NANO;
    let common = gcd(s, t);
    let (s, t) = (s / common, t / common);
    // Algorithm 2 of the paper: a geometric tail in steps of t, a uniform part below t accepted with exp(−u/t).
    loop {
        let u = below(t, random)?;
        if !bernoulli_exp(u, t, random)? {
            continue;
        }
        let mut v: u128 = 0;
        while bernoulli_exp(1, 1, random)? {
            v += 1;
        }
        let magnitude = (u + t * v) / s;
        let negative = below(2, random)? == 1;
        if negative && magnitude == 0 {
            continue;
        }
        // Beyond 2⁶² the probability is below exp(−2⁶²·ε); such a draw is made again rather than cut off.
        let Ok(magnitude) = i64::try_from(magnitude) else { continue };
        return Ok(if negative { -magnitude } else { magnitude });
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Uniform in `0..bound`, by rejection.
fn below(bound: u128, random: &mut impl Random) -> Result<u128, RandomError> {
    let bits = 128 - (bound - 1).leading_zeros();
    let mask = if bits == 0 { 0 } else { u128::MAX >> (128 - bits) };
    loop {
        let mut bytes = [0; 16];
        let used = bits.div_ceil(8) as usize;
        random.fill(&mut bytes[..used])?;
        let draw = u128::from_le_bytes(bytes) & mask;
        if draw < bound {
            return Ok(draw);
        }
    }
}

/// True with probability exp(−numerator/denominator), for a fraction in [0, 1] (algorithm 1 of the paper).
fn bernoulli_exp(numerator: u128, denominator: u128, random: &mut impl Random) -> Result<bool, RandomError> {
    let mut k: u128 = 1;
    // Stops at the first failure of Bernoulli(γ/k); odd stopping times have probability exp(−γ).
    loop {
        if below(denominator * k, random)? >= numerator {
            return Ok(k % 2 == 1);
        }
        k += 1;
    }
}

/// The least t with P[|X| > t] ≤ 5 %.
pub fn half_width_95(epsilon_nano: u64, sensitivity: u64) -> u64 {
    #[allow(clippy::cast_precision_loss, reason = "a width for display, far below 2^53")]
    let alpha = (-(epsilon_nano.max(1) as f64 / 1e9) / sensitivity.max(1) as f64).exp();
    let mut t = 0_u64;
    let mut tail = 2.0 * alpha / (1.0 + alpha);
    while tail > 0.05 && t < 10_000_000_000 {
        // In closed form first, then exactly by single steps.
        let leap = ((0.05 / tail).ln() / alpha.ln()).floor();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small range"
        )]
        let leap = leap.clamp(1.0, 1e9) as u64;
        t += leap;
        #[allow(clippy::cast_precision_loss, reason = "as above")]
        let exponent = t as f64 + 1.0;
        tail = 2.0 * alpha.powf(exponent) / (1.0 + alpha);
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small seeded generator: the tests cannot flake.
    pub(crate) struct Seeded(pub(crate) u64);

    impl Random for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
            for byte in bytes {
                // splitmix64
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.0;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                *byte = (z ^ (z >> 31)).to_le_bytes()[3];
            }
            Ok(())
        }
    }

    #[test]
    fn the_noise_has_exactly_its_law() {
        // χ² against the exact mass, tails pooled to an expectation of at least 50; thresholds are upper 1e-9 quantiles.
        for (epsilon_nano, threshold) in
            [(1_000_000_000_u64, 73.6), (500_000_000, 96.4), (100_000_000, 216.4)]
        {
            let n = 200_000;
            let mut random = Seeded(7);
            let mut counts = std::collections::HashMap::new();
            for _ in 0..n {
                *counts.entry(noise(epsilon_nano, 1, &mut random).unwrap()).or_insert(0_u64) += 1;
            }
            let alpha = (-(epsilon_nano as f64) / 1e9).exp();
            let mass = |k: i64| (1.0 - alpha) / (1.0 + alpha) * alpha.powi(i32::try_from(k.abs()).unwrap());
            let edge = (0..).find(|k| mass(*k) * f64::from(n) < 50.0).unwrap();
            let mut statistic = 0.0;
            let mut seen = 0;
            for k in -(edge - 1)..edge {
                let expected = mass(k) * f64::from(n);
                let got = counts.get(&k).copied().unwrap_or(0);
                seen += got;
                statistic += (got as f64 - expected).powi(2) / expected;
            }
            let expected = (1..).map(|i| mass(edge - 1 + i)).take(2_000).sum::<f64>() * 2.0 * f64::from(n);
            statistic += ((n as u64 - seen) as f64 - expected).powi(2) / expected;
            assert!(statistic < threshold, "ε {epsilon_nano}: χ² {statistic}");
            assert!(statistic > 0.1, "too good to be random: {statistic}");
        }
    }

    #[test]
    fn the_best_attacker_on_one_count_gains_no_more_than_epsilon_allows() {
        // P[answer ≤ c] for counts c and c + 1: the ratio is exactly e^ε, and the advantage tanh(ε/2).
        let n = 200_000;
        let hits = |offset: i64, seed: u64| {
            let mut random = Seeded(seed);
            (0..n).filter(|_| noise(500_000_000, 1, &mut random).unwrap() + offset <= 0).count() as f64
                / f64::from(n)
        };
        let (with, without) = (hits(1, 1), hits(0, 2));
        let ratio = (without / with).ln();
        assert!((ratio - 0.5).abs() < 0.02, "ε measured as {ratio}");
        assert!((without - with - (0.25_f64).tanh()).abs() < 0.01);
    }

    #[test]
    fn forgetting_the_sensitivity_would_be_seen() {
        let spread = |sensitivity| {
            let mut random = Seeded(3);
            (0..20_000)
                .map(|_| noise(500_000_000, sensitivity, &mut random).unwrap().unsigned_abs() as f64)
                .sum::<f64>()
                / 20_000.0
        };
        assert!((spread(1) - 1.919).abs() < 0.1);
        assert!((spread(5) - 9.983).abs() < 0.4);
    }

    #[test]
    fn confidence_widths_match_the_table() {
        assert_eq!(
            [half_width_95(100_000_000, 1), half_width_95(500_000_000, 1), half_width_95(1_000_000_000, 1)],
            [30, 6, 3]
        );
        assert_eq!(half_width_95(500_000_000, 5), 30);
    }

    #[test]
    fn without_randomness_nothing_is_released() {
        struct None;
        impl Random for None {
            fn fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
                Err(RandomError("none".into()))
            }
        }
        assert!(noise(1, 1, &mut None).is_err());
    }
}
