//! Every named scenario, a test each, with a handful of seeds: it must go as scripted, and every judge must be content.

use sim::scenario::{self, Verdict};
use sim::timeline::Keep;

/// How many seeds of each; of long ones, one.
const SEEDS: u64 = 5;

/// Plays a scenario; a failure is played again with its trace.
fn play(name: &str, seeds: u64) {
    let scenario = scenario::find(name).expect("the scenario exists");
    for seed in 0..seeds {
        let (_, verdict) = scenario.play(seed, Keep::Nothing);
        let what = match verdict {
            Verdict::Kept(_) => continue,
            Verdict::Broken(_, violation) => violation.to_string(),
            Verdict::Missed(report, missed) => {
                format!("did not happen: {} ({:?})", missed.0, report.tally)
            }
        };
        let (world, _) = scenario.play(seed, Keep::Everything);
        let trace = world.timeline().to_text(world.hosts(), 200);
        panic!("{name}, seed {seed}: {what}\n{trace}");
    }
}

macro_rules! scenarios {
    ($($name:ident)* ; large: $($large:ident)*) => {
        $(#[test] fn $name() { play(stringify!($name), SEEDS); })*
        $(#[test] fn $large() { play(stringify!($large), 1); })*

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$(stringify!($name),)* $(stringify!($large),)*];
            for scenario in scenario::all() {
                assert!(tested.contains(&scenario.name), "{} has no test", scenario.name);
            }
        }
    };
}

scenarios! {
    quiet_mesh
    held_and_released
    held_and_killed
    not_before_its_time
    expires_where_nobody_can_start_it
    timeout_ends_a_stubborn_run
    timeout_survives_a_restart
    backoff_between_retries
    retried_on_named_failures_alone
    conditions_on_ends
    poison_is_held
    slots_of_a_queue
    idle_hosts_do_not_stampede
    idle_hosts_share_a_batch_without_a_stampede
    lengths_that_differ_are_no_stampede
    an_order_that_leaves_no_choice_is_no_stampede
    what_is_more_urgent_goes_first
    what_is_more_urgent_goes_first_everywhere
    longer_ones_go_first
    tasks_of_one_mount_are_spread
    what_is_ready_starts_at_once
    held_claims_are_left_to_hosts_with_room
    what_was_declared_is_looked_at_first
    settings_are_heard_by_all
    ended_and_run_again
    run_again_in_a_split
    run_again_survives_power_cuts
    run_again_with_what_stands_behind
    removed_and_gone
    removed_while_wanted_again
    a_group_runs_again_without_what_was_removed
    removed_with_what_stands_behind
    edited_before_it_starts
    edited_on_both_sides_of_a_split
    edited_while_it_is_bid_for
    edited_through_crashes_and_a_split
    each_element_runs_once
    what_ended_long_ago_is_dropped
    nothing_is_dropped_unless_that_is_wanted
    what_is_needed_is_not_dropped
    back_after_all_was_dropped
    dropped_through_power_cuts
    one_wrong_clock_makes_nothing_lapse
    dropped_on_a_host_alone
    lease_raised_behind_a_split
    lease_lowered_behind_a_split
    lease_lowered_as_members_change
    lease_raised_for_all
    lease_lowered_for_all
    host_started_with_a_longer_lease
    hosts_started_again_with_shorter_leases
    elements_sleep_until_something_happens_to_one
    elements_end_in_their_sleep
    an_element_is_waited_for
    an_array_through_power_cuts_and_a_split
    an_array_whose_committee_is_replaced
    an_array_is_killed_and_run_again
    asked_again_under_a_key
    one_key_at_two_hosts_at_once
    one_key_on_both_sides_of_a_split
    a_key_whose_task_is_removed
    memory_ladder
    options_of_a_newer_version
    input_comes_later_than_a_lease
    not_wanted_while_its_input_comes
    claimant_cut_off_while_its_input_comes
    on_lost_wait_outlives_a_split
    on_lost_wait_for_a_dead_host
    on_lost_wait_needs_no_clock
    on_lost_wait_until_someone_says_retry
    on_lost_fail_of_a_dead_host
    on_lost_fail_in_a_split
    on_lost_fail_with_retries
    run_anywhere_in_a_quiet_mesh
    run_anywhere_on_both_sides
    run_anywhere_better_result_wins
    run_anywhere_after_a_lost_host
    drained_member_hands_over
    every_host_drained_in_turn
    only_member_hands_over
    silent_members_are_replaced_one_by_one
    forgotten_member_is_replaced
    forgotten_and_back
    claimant_cut_off_while_it_is_replaced
    sealed_votes_answer_nobody
    outcome_seen_by_one_is_taken_up
    proposer_dies_at_each_step
    minority_cannot_replace_the_majority
    replaced_across_crashes
    waiting_task_outlives_its_committee
    no_spare_host
    one_host
    two_hosts
    duplicated_and_reordered_frames
    loss_20_percent
    clock_drift_at_the_bound
    wall_clock_steps
    kill_racing_success
    kill_a_stubborn_task
    retry_after_failure
    group_window
    disk_full_on_a_witness
    disk_full_on_the_claimant
    garbage_frames
    five_claimants_for_one_task
    slow_link_longer_than_the_lease
    split_claimant_in_the_minority
    split_claimant_in_the_majority
    every_host_alone
    work_done_alone_is_not_done_again
    one_way_claimant_to_witnesses
    one_way_witnesses_to_claimant
    claims_lane_cut
    gossip_lane_cut
    flapping_link
    submit_during_a_split
    kill_during_a_split
    dependency_chain_across_a_split
    majorities_in_a_ring
    claimant_paused_beyond_its_lease
    claimant_paused_within_its_lease
    paused_between_order_and_start
    host_frozen_beyond_its_lease
    witness_paused
    all_nodes_paused
    take_over_soon_after_the_lease
    crash_after_start_before_it_is_recorded
    crash_after_end_before_outcome_is_durable
    crash_after_outcome_before_commit
    a_run_outlives_its_node
    an_end_waits_for_its_node
    a_run_does_not_outlive_its_deadline
    witness_crash_at_each_step
    two_claimants_one_witness_down
    all_hosts_killed_at_once
    power_cut_right_after_an_ack
    rolling_restart
    minority_dead_for_ever
    restart_loop
    witness_disk_lost
    join_during_a_split
    rates_flip_in_mid_lease
    wall_clock_jumps_on_claimant_and_witness
    own_beats_of_an_earlier_start_come_back
    slow_disk_on_the_claimant
    all_disks_full
    disk_full_then_power_cut
    witness_slow_to_sync_dies
    swizzled_links
    garbage_among_claims
    forged_frames
    guard_killed
    guard_killed_under_a_stopped_node
    guard_and_node_killed
    guard_killed_with_an_end_untold
    guards_killed_again_and_again
    anywhere_restarted_at_once
    two_witnesses_down_one_back
    restarted_in_every_order
    leave_during_a_split
    two_join_and_one_is_replaced
    retry_while_the_outcome_is_late
    fan_in_across_a_split
    group_across_crashes
    priorities_under_churn
    resumed_with_a_full_inbox
    ; large:
    more_tasks_than_a_segment_holds
    array_over_segments
    ten_minutes
    away_for_an_hour
    segments_closed_while_a_peer_is_away
}
