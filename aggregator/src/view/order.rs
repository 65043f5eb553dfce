//! The SKUs of a shard in byte order, as ids in short runs: four bytes a SKU, inserted in place.
//! It must never compare ids: only the texts behind them.

/// Ids in a run before it is split in two.
const RUN_IDS_MAX: usize = 1024;

/// Where a walk begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'a> {
    /// At the first text.
    First,
    /// At this text, or the one after it.
    At(&'a str),
    /// Behind this text.
    After(&'a str),
}

/// Ids sorted by the texts they stand for; every run is non-empty.
#[derive(Debug, Default)]
pub(super) struct SortedIds {
    runs: Vec<Vec<u32>>,
}

impl SortedIds {
    /// Puts a new id in its place.
    pub(super) fn insert<'a>(&mut self, id: u32, text: &str, text_of: impl Fn(u32) -> &'a str) {
        let run_index = self.runs.partition_point(|run| text_of(run[0]) <= text);
        let Some(run) = self.runs.get_mut(run_index.saturating_sub(1)) else {
            self.runs.push(vec![id]);
            return;
        };
        let place = run.partition_point(|other| text_of(*other) < text);
        run.insert(place, id);
        if run.len() > RUN_IDS_MAX {
            let upper = run.split_off(RUN_IDS_MAX / 2);
            self.runs.insert(run_index.max(1), upper);
        }
    }

    /// The ids from `start` on, in order.
    pub(super) fn from<'a, 'b>(
        &'b self,
        start: Start<'_>,
        text_of: impl Fn(u32) -> &'a str,
    ) -> impl Iterator<Item = u32> + 'b {
        let is_before = |id: u32| match start {
            Start::First => false,
            Start::At(text) => text_of(id) < text,
            Start::After(text) => text_of(id) <= text,
        };
        let run_index = self.runs.partition_point(|run| is_before(run[0])).saturating_sub(1);
        let run = self.runs.get(run_index);
        let place = run.map_or(0, |run| run.partition_point(|id| is_before(*id)));
        let first = self.runs.get(run_index).map_or(&[][..], |run| &run[place..]);
        let rest = self.runs.iter().skip(run_index + 1).flatten();
        first.iter().chain(rest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_sorted_vector() {
        let texts: Vec<String> = (0..5_000_u32)
            .map(|number| format!("{:08x}", number.wrapping_mul(2_654_435_761)))
            .collect();
        let mut ids = SortedIds::default();
        for (id, text) in texts.iter().enumerate() {
            ids.insert(id as u32, text, |id| &texts[id as usize]);
        }
        let mut sorted: Vec<&String> = texts.iter().collect();
        sorted.sort();
        let listed: Vec<&String> = ids
            .from(Start::First, |id| &texts[id as usize])
            .map(|id| &texts[id as usize])
            .collect();
        assert_eq!(listed, sorted);
        for text in ["", "00", sorted[77], sorted[4_999], "8", "~"] {
            let expected: Vec<&String> =
                sorted.iter().copied().filter(|other| other.as_str() > text).collect();
            let walk = |start| -> Vec<&String> {
                let ids = ids.from(start, |id| &texts[id as usize]);
                ids.map(|id| &texts[id as usize]).collect()
            };
            assert_eq!(walk(Start::After(text)), expected, "after {text:?}");
            let expected: Vec<&String> =
                sorted.iter().copied().filter(|other| other.as_str() >= text).collect();
            assert_eq!(walk(Start::At(text)), expected, "at {text:?}");
        }
        assert!(ids.runs.len() > 5 && ids.runs.iter().all(|run| run.len() <= RUN_IDS_MAX));
    }
}
