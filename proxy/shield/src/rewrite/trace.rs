//! Which part of a shielded record came from which part of the stored one, for the caller who sends it back changed.

/// Where the items of lists stand in what is written, and what was made coarser in its place. All else that was treated
/// shows by comparing the two texts; members are found by their names.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The first byte of an item in the output, and its place on the tape; in the order of the output.
    pub(crate) items: Vec<(usize, usize)>,
    /// Places on the tape whose value was coarsened, pseudonymized or sealed: it may look as it did before.
    pub(crate) treated: Vec<usize>,
}

impl Trace {
    /// Takes out what was noted from `from` on, counted from there.
    pub(super) fn split_off(&mut self, from: usize) -> Vec<(usize, usize)> {
        let first = self.items.partition_point(|(at, _)| *at < from);
        self.items.split_off(first).into_iter().map(|(at, token)| (at - from, token)).collect()
    }

    /// Puts in what was taken out, where its text now begins.
    pub(super) fn put(&mut self, at: usize, items: Vec<(usize, usize)>) {
        self.items.extend(items.into_iter().map(|(place, token)| (at + place, token)));
    }

    /// The last `length` bytes before `end` were moved to `to`, and what stood there behind them.
    pub(super) fn rotated(&mut self, to: usize, end: usize, length: usize) {
        let from = end - length;
        for (at, _) in &mut self.items {
            if *at >= from {
                *at = *at - from + to;
            } else if *at >= to {
                *at += length;
            }
        }
        self.items.sort_unstable();
    }
}
