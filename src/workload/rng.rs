//! The random numbers of the workload: xoshiro256++ seeded by `SplitMix64`.
//!
//! Owns the generator and the bijective mixing function. Must not know what the numbers are used for.
//!
//! It is written out here, and not taken from a crate, because the point is that a seed means the same events
//! for ever: a figure measured last year must be comparable. Both algorithms are in the public domain:
//! David Blackman and Sebastiano Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 47 (2021),
//! <https://prng.di.unimi.it/>; Guy Steele, Doug Lea and Christine Flood, "Fast Splittable Pseudorandom Number
//! Generators", OOPSLA 2014. Neither is fit for secrets.

/// A seeded generator of 64-bit numbers (xoshiro256++). About a nanosecond a number, never for secrets.
///
/// ```
/// use usertrail::workload::Rng;
///
/// let mut first = Rng::new(7);
/// let mut second = Rng::new(7);
/// assert_eq!(first.next_u64(), second.next_u64());
/// assert!(first.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose numbers depend on `seed` alone, on every platform and in every version.
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        let mut state = [0; 4];
        for word in &mut state {
            counter = counter.wrapping_add(GOLDEN);
            *word = finish(counter);
        }
        Self { state }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        let (mut a, mut b, mut c, mut d) = (a, b, c, d);
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        self.state = [a, b, c, d];
        result
    }

    /// A number below `bound`, or 0 when `bound` is 0. The bias is below 2^-32.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        scale(self.next_u64(), bound)
    }

    /// True in `per_mille` of a thousand cases.
    #[inline]
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille
    }
}

/// 2^64 divided by the golden ratio: the step of `SplitMix64`.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of `SplitMix64`: a bijection in which every bit depends on every bit.
#[inline]
fn finish(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A number that looks random and depends on `seed` and `index` alone: what a user, a session or an address is
/// like is derived again each time it is wanted, instead of being kept in a table that misses the cache.
#[inline]
pub(super) fn mix(seed: u64, index: u64) -> u64 {
    finish(seed.wrapping_add(index.wrapping_mul(GOLDEN)).wrapping_add(GOLDEN))
}

/// The upper 32 bits of `random` brought to the range `0..bound` (Lemire's multiplication, without rejection).
#[inline]
pub(super) fn scale(random: u64, bound: u32) -> u32 {
    upper(u64::from(upper(random)) * u64::from(bound))
}

/// As [`scale`], with small numbers more frequent: the density falls with the root of the number.
#[inline]
pub(super) fn scale_skewed(random: u64, bound: u32) -> u32 {
    let fraction = u64::from(upper(random));
    scale(fraction * fraction, bound)
}

/// The upper half.
#[inline]
pub(super) const fn upper(wide: u64) -> u32 {
    (wide >> 32) as u32
}

/// The upper and the lower half.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the parts of a number, none is lost")]
pub(super) const fn halves(wide: u128) -> [u64; 2] {
    [(wide >> 64) as u64, wide as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_vectors() {
        // From the reference implementation in C with the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let expected = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        assert_eq!(std::array::from_fn::<u64, 4, _>(|_| rng.next_u64()), expected);
        // SplitMix64 with the seed 1234567.
        let seeded = Rng::new(1_234_567).state;
        assert_eq!(seeded[0], 6_457_827_717_110_365_317);
        assert_eq!(seeded[1], 3_203_168_211_198_807_973);
        assert_eq!(mix(1_234_567, 0), 6_457_827_717_110_365_317);
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut rng = Rng::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..100_000 {
            seen[usize::try_from(rng.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| (9_600..10_400).contains(&count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn skewed_numbers_prefer_the_front_and_stay_below() {
        let mut rng = Rng::new(2);
        let front = (0..10_000).filter(|_| scale_skewed(rng.next_u64(), 100) < 25).count();
        // The root of a quarter is a half.
        assert!((4_800..5_200).contains(&front), "{front}");
        assert_eq!(scale_skewed(u64::MAX, 100), 99);
    }
}
