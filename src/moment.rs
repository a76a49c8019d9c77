//! Time as the server sees it: passed in, coarse, and in four bytes, since every client holds some.
//! Knows no clock.

/// Milliseconds since the server's start, modulo 2^32. Two moments can be compared while they are
/// less than 24 days apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(pub u32);

impl Moment {
    /// The moment `milliseconds` later.
    pub fn plus(self, milliseconds: u32) -> Self {
        Self(self.0.wrapping_add(milliseconds))
    }

    /// Milliseconds from `earlier` to here; 0 when it is later.
    pub fn since(self, earlier: Self) -> u32 {
        let difference = self.0.wrapping_sub(earlier.0);
        if difference.cast_signed() < 0 {
            0
        } else {
            difference
        }
    }

    /// The later one of two.
    pub(crate) fn max(self, other: Self) -> Self {
        if self.since(other) > 0 { self } else { other }
    }

    /// The earlier one of two.
    pub(crate) fn min(self, other: Self) -> Self {
        if self.since(other) > 0 { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_compare_across_the_wrap() {
        let (before, after) = (Moment(u32::MAX - 10), Moment(u32::MAX - 10).plus(20));
        assert_eq!(after, Moment(9));
        assert_eq!((after.since(before), before.since(after)), (20, 0));
        assert_eq!((before.max(after), before.min(after)), (after, before));
        assert_eq!((after.max(before), after.min(before)), (after, before));
    }

    #[test]
    fn moments_compare_by_the_millisecond() {
        let (before, after) = (Moment(7), Moment(8));
        assert_eq!((after.since(before), before.since(after)), (1, 0));
        assert_eq!((before.max(after), after.max(before)), (after, after));
        assert_eq!((before.min(after), after.min(before)), (before, before));
    }
}
