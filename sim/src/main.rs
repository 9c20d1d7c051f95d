//! x
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let from: u64 = a[1].parse().expect("n");
    let n: u64 = a[2].parse().expect("n");
    let keep = if a.len() > 3 {
        sim::timeline::Keep::Everything
    } else {
        sim::timeline::Keep::Nothing
    };
    let t = std::time::Instant::now();
    let mut simulated = 0.0;
    for seed in from..from + n {
        let res = std::panic::catch_unwind(|| {
            let world = sim::swarm::play(seed, None, keep);
            let r = world.report();
            if a.len() > 3 {
                println!(
                    "{}",
                    world
                        .timeline()
                        .to_text(world.hosts(), a[3].parse().unwrap())
                );
            }
            r
        });
        match res {
            Ok(r) => {
                simulated += r.simulated.as_secs_f64();
                if let Some(v) = &r.violation {
                    println!(
                        "seed {seed} hosts {} {v}",
                        sim::swarm::draw(seed).setup.hosts
                    );
                }
                if a.len() > 3 {
                    println!("{r:?}");
                }
            }
            Err(_) => println!("seed {seed} PANIC"),
        }
    }
    println!("{n} seeds, {simulated:.0} s simulated in {:?}", t.elapsed());
}
