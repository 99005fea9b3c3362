//! Numbers to fill operands with, the same on every run.

/// The generator SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// A whole number from `-magnitude` to `magnitude`.
    pub fn integer(&mut self, magnitude: usize) -> f64 {
        self.below(2 * magnitude + 1) as f64 - magnitude as f64
    }

    /// A real number from -1 to 1.
    pub fn real(&mut self) -> f64 {
        2.0 * self.positive() - 1.0
    }

    /// A real number from 0 to 1, both excluded.
    pub fn positive(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}
