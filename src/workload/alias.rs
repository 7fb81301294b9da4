//! Sampling from a discrete distribution in constant time: the alias method.
//!
//! Owns the table and its construction. Must not know what its indices stand for.
//!
//! A. J. Walker, "An Efficient Method for Generating Discrete Random Variables with General Distributions", ACM
//! TOMS 3 (1977), built as in M. D. Vose, IEEE TSE 17 (1991). The other candidate for Zipf was rejection-inversion
//! (W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions",
//! ACM TOMACS 6 (1996)): it needs no table, but a logarithm and an exponential for each draw, whose last bits differ
//! between platforms. With 100,000 ranks it takes 9 ns a draw where the table takes 4
//! (`workload::tests::cost::the_alias_table_against_rejection_inversion`).

use super::rng::{halves, upper};

/// One cell: its own index is drawn with a probability of `keep / 2^32`, else the index `alias`.
#[derive(Clone, Copy, Debug)]
struct Cell {
    keep: u32,
    alias: u32,
}

/// A discrete distribution over `0..len`, exact to 2^-32 of a cell. 8 bytes an index.
#[derive(Clone, Debug)]
pub(super) struct AliasTable {
    cells: Vec<Cell>,
}

impl AliasTable {
    /// The distribution that gives index `i` a probability in proportion to the `i`-th weight.
    /// Weights must be positive; with no weight at all, index 0 is always drawn.
    pub(super) fn new(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let scale = f64::from(u32::try_from(weights.len()).unwrap_or(u32::MAX)) / total;
        let mut share: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut cells: Vec<Cell> = (0..=u32::MAX).take(share.len()).map(Cell::full).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..share.len()).partition(|&i| share[i] < 1.0);
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            cells[poor] = Cell { keep: threshold(share[poor]), alias: cells[rich].alias };
            share[rich] -= 1.0 - share[poor];
            if share[rich] < 1.0 { small.push(rich) } else { large.push(rich) }
        }
        // What is left over has a share of 1 but for rounding, and stays full.
        Self { cells }
    }

    /// The index that 64 random bits stand for.
    #[inline]
    pub(super) fn pick(&self, random: u64) -> u32 {
        let product = u128::from(random) * u128::try_from(self.cells.len()).unwrap_or(0);
        let [place, fraction] = halves(product);
        let place = usize::try_from(place).unwrap_or(0);
        match self.cells.get(place) {
            Some(cell) if upper(fraction) >= cell.keep => cell.alias,
            Some(_) => u32::try_from(place).unwrap_or(0),
            None => 0,
        }
    }
}

impl Cell {
    /// A cell that always gives its own index: whether it is kept or not makes no difference.
    fn full(index: u32) -> Self {
        Self { keep: u32::MAX, alias: index }
    }
}

/// A share of `0.0..1.0` as a 32-bit fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn threshold(share: f64) -> u32 {
    (share * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::rng::Rng;

    /// The probability that the table gives each index, computed from its cells.
    fn probabilities(table: &AliasTable) -> Vec<f64> {
        let mut result = vec![0.0; table.cells.len()];
        for (index, cell) in table.cells.iter().enumerate() {
            let keep = f64::from(cell.keep) / 4_294_967_296.0;
            result[index] += keep;
            result[usize::try_from(cell.alias).unwrap()] += 1.0 - keep;
        }
        let cells = f64::from(u32::try_from(table.cells.len()).unwrap());
        result.iter().map(|probability| probability / cells).collect()
    }

    #[test]
    fn the_cells_add_up_to_the_weights() {
        for weights in [vec![1.0], vec![1.0, 3.0], vec![0.001, 5.0, 0.2, 0.2, 11.0], vec![2.0; 7]] {
            let total: f64 = weights.iter().sum();
            for (found, weight) in probabilities(&AliasTable::new(&weights)).iter().zip(&weights) {
                assert!((found - weight / total).abs() < 1e-9, "{weights:?}: {found}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_zipf_ranks_are_exact() {
        let weights: Vec<f64> = (1..=100_000).map(|rank| 1.0 / f64::from(rank)).collect();
        let total: f64 = weights.iter().sum();
        for (found, weight) in probabilities(&AliasTable::new(&weights)).iter().zip(&weights) {
            assert!((found * total / weight - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn every_random_number_gives_an_index() {
        let table = AliasTable::new(&[1.0, 2.0, 3.0]);
        assert!(table.pick(0) < 3 && table.pick(u64::MAX) < 3);
        let mut rng = Rng::new(3);
        let mut seen = [0_u32; 3];
        for _ in 0..60_000 {
            seen[usize::try_from(table.pick(rng.next_u64())).unwrap()] += 1;
        }
        assert!(seen.iter().zip([10_000, 20_000, 30_000]).all(|(&n, m)| n.abs_diff(m) < 500), "{seen:?}");
        assert_eq!(AliasTable::new(&[]).pick(17), 0);
    }
}
