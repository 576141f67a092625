"""C7: when to dial again."""

from random import Random

from xds.protocol.backoff import FIRST_DELAY_S, MAX_DELAY_S, Backoff


class Highest(Random):
    def uniform(self, low, high):
        return high


def test_c7_delays_double_up_to_a_cap_and_start_over_after_an_answer():
    backoff = Backoff(Highest())
    delays = [backoff.next_delay_s() for _ in range(10)]
    assert delays[:3] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S]
    assert delays[-1] == MAX_DELAY_S
    backoff.reset()
    assert backoff.next_delay_s() == FIRST_DELAY_S


def test_c7_sidecars_that_lost_one_server_together_do_not_return_together():
    delays = {Backoff(Random(seed)).next_delay_s() for seed in range(100)}
    assert len(delays) == 100
    assert all(0 <= delay <= FIRST_DELAY_S for delay in delays)
