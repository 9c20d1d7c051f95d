//! x
use sim::{plan::*, timeline::Keep, world::*};
use std::time::Duration;
#[test]
fn smoke() {
    for hosts in [1usize, 2, 3, 5] {
        let mut w = World::new(Setup {
            keep: Keep::Everything,
            ..Setup::new(1, hosts)
        });
        w.run_for(Duration::from_secs(3));
        let t = w.submit_and_wait(0, Batch::many(3, Plan::succeed(Duration::from_millis(500))));
        eprintln!("{t:?}");
        w.finish();
        let r = w.report();
        eprintln!("{}", w.timeline().to_text(w.hosts(), 60));
        eprintln!("{r:?}");
        if let Some(r) = w.replica(0) {
            eprintln!("{:?}", r.counters());
        }
        assert!(r.violation.is_none(), "{}", r.violation.unwrap());
    }
}
