//! Work on all cores while no clock runs: making requests before a step, verifying answers after it.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use chancery_tlog::serve::block;

/// `work(0)` to `work(count - 1)`, in that order.
pub(crate) async fn map<T, W>(count: usize, work: W) -> Result<Vec<T>>
where
    T: Send + 'static,
    W: Fn(usize) -> T + Send + Sync + 'static,
{
    let work = Arc::new(work);
    block(move || spread(count, &*work)).await.context("a worker failed")?
}

fn spread<T: Send>(count: usize, work: &(impl Fn(usize) -> T + Sync)) -> Result<Vec<T>> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let share = count.div_ceil(workers).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..count)
            .step_by(share)
            .map(|first| scope.spawn(move || (first..count.min(first + share)).map(work).collect::<Vec<T>>()))
            .collect();
        let mut all = Vec::with_capacity(count);
        for part in parts {
            all.extend(part.join().map_err(|_| anyhow!("a worker failed"))?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_order_and_complete() {
        for count in [0, 1, 2, 3, 1000] {
            assert_eq!(map(count, |n| n * 2).await.unwrap(), (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
