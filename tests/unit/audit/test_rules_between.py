"""One log for each rule, with correct chains and signatures, that breaks this rule and no other."""

from datetime import timedelta

from generators.log_histories import START
from msgspec.structs import replace

from callboard.events import agent_events, approval, backend, budget, task
from callboard.events.chat import Usage
from callboard.events.money import Price
from callboard.events.task_spec import Needs
from callboard.projections.audit import Audit, Options


def test_a_log_that_breaks_no_rule_is_clean(story):
    """Budgets, approvals, agents and all."""
    story.budgets()
    story.submit(budget="team")
    story.tell(story.assigned(hold=story.hold()))
    story.finish()
    story.say("budget", "team", budget.Sealed("l"))
    for level in ("org", "team"):
        story.say("budget", level, budget.Settled("l", 105))
    story.working_agent("mail")
    action = approval.hash_of({"tool": "mail", "arguments": {}})
    story.ask(approval.Approved(action, "bob"))
    story.agent(agent_events.Stepped("approve mail 1.1", on="approval/ok"), agent_events.Began("mail 1.1"))
    assert story.wrong() == {}
    assert story.report().result == "clean"


def test_illegal(story):
    """What can't follow by the entity's own rules."""
    story.submit()
    at = story.tell(task.Completed("large", 1, "hi", Usage(), 0, "m"))
    assert story.wrong()["illegal"] == [at]


def test_call_numbers(story):
    """A number is left out."""
    story.submit()
    story.tell(story.assigned())
    at = story.tell(task.Started("large", 2, "w"))
    assert story.wrong() == {"call": [at]}


def test_call_elsewhere(story):
    """A call on a backend that was not given the task."""
    story.submit()
    story.tell(story.assigned("large"))
    at = story.tell(task.Started("small", 1, "w"))
    assert story.wrong() == {"call": [at]}


def test_cost(story):
    """A call is booked at another price than that of its time."""
    story.submit()
    story.tell(story.assigned())
    at = story.finish(cost=106)
    assert story.wrong() == {"cost": [at]}


def test_cost_of_a_price_that_changed_meanwhile(story):
    """The price that a worker had not heard of yet may count, an older one may not."""
    story.submit()
    story.tell(story.assigned())
    story.say("backend", "large", backend.Priced(Price(1, 1)))
    story.finish(price=Price(3_000_000, 15_000_000))
    assert story.wrong() == {}
    for number in range(50):
        story.say("backend", "small", backend.Priced(Price(number + 5)))
    story.submit(name="2f-late")
    story.tell(story.assigned(), name="2f-late")
    at = story.finish(name="2f-late", price=Price(3_000_000, 15_000_000))
    assert story.wrong() == {"cost": [at]}


def test_sums(story):
    """What is shown as the ledger is not what the log comes to."""
    story.submit()
    story.tell(story.assigned())
    at = story.finish()
    fold = Audit(Options(snapshot=(at, b"{}")))
    for seq, subject, data, time_ns, _ in story.records:
        fold.take(seq, time_ns, subject, data)
    assert fold.finish().counts["sums"] == 1


def test_over_budget(story):
    """More is reserved than there is."""
    story.budgets(limit=12_000)
    at = story.say("budget", "team", budget.Reserved("more", 5_000, "team", "router", START))
    assert story.wrong() == {"over-budget": [at]}


def test_unfunded(story):
    """A task with a budget is assigned without any money held."""
    story.budgets()
    story.submit(budget="team")
    at = story.tell(story.assigned())
    assert story.wrong() == {"unfunded": [at]}


def test_unfunded_by_a_lease_that_never_was(story):
    """Nobody reserved what the call is paid from."""
    story.budgets()
    story.submit(budget="team")
    at = story.tell(story.assigned(hold=story.hold(lease="other")))
    assert story.wrong() == {"unfunded": [at]}


def test_unfunded_above(story):
    """The lease is not held by the budget that the task's budget is part of."""
    story.say("budget", "org", budget.Granted(10**9))
    story.say("budget", "team", budget.Granted(10**6, "org"))
    story.say("budget", "team", budget.Reserved("l", 10_000, "team", "router", START))
    story.submit(budget="team")
    at = story.tell(story.assigned(hold=story.hold()))
    assert story.wrong() == {"unfunded": [at]}


def test_overdrawn(story):
    """More is held for calls than their lease has."""
    story.budgets(lease=3_000)
    story.submit(budget="team")
    story.submit(name="2f-other", budget="team")
    story.tell(story.assigned(hold=story.hold()))
    at = story.tell(story.assigned(hold=story.hold()), name="2f-other")
    assert story.wrong() == {"overdrawn": [at]}


def test_after_seal(story):
    """A call begins whose money was called back before it was assigned."""
    story.budgets()
    story.submit(budget="team")
    story.say("budget", "team", budget.Sealed("l"))
    story.tell(story.assigned(hold=story.hold()))
    at = story.tell(task.Started("large", 1, "w"))
    assert story.wrong() == {"after-seal": [at]}


def test_too_small(story):
    """Less is held for a call than it may cost."""
    story.budgets()
    story.submit(budget="team")
    story.tell(story.assigned(hold=story.hold(500)))
    at = story.tell(task.Started("large", 1, "w"))
    assert story.wrong() == {"too-small": [at]}


def test_settlement(story):
    """A lease is settled at something else than what was paid from it."""
    story.budgets()
    story.submit(budget="team")
    story.tell(story.assigned(hold=story.hold()))
    story.finish()
    story.say("budget", "team", budget.Sealed("l"))
    story.say("budget", "org", budget.Settled("l", 105))
    at = story.say("budget", "team", budget.Settled("l", 104))
    assert story.wrong() == {"settlement": [at, story.end]}


def test_settlement_of_what_was_true_before(story):
    """Whoever settles has read the log up to some point after the seal: what was true there may be told."""
    story.budgets()
    story.submit(budget="team")
    story.tell(story.assigned(hold=story.hold()))
    story.tell(task.Started("large", 1, "w"))
    story.say("budget", "team", budget.Sealed("l"))
    story.tell(task.Completed("large", 1, "hi", Usage(10, 5), 105, "m"))
    story.say("budget", "org", budget.Settled("l", 0, 2000))
    for level in ("org", "team"):
        story.say("budget", level, budget.Settled("l", 105))
    assert story.wrong() == {}


def test_settlement_of_an_open_lease(story):
    """Nobody can say what an open lease has cost."""
    story.budgets()
    at = story.say("budget", "team", budget.Settled("l", 0, 5))
    assert story.wrong() == {"settlement": [at]}


def test_backend_that_is_not_registered(story):
    """A task goes to nobody knows whom."""
    story.submit()
    at = story.tell(story.assigned("nobody"))
    assert story.wrong() == {"backend": [at]}


def test_backend_that_was_removed(story):
    """It was gone when the decision was made."""
    story.submit()
    story.say("backend", "large", backend.Removed())
    at = story.tell(story.assigned("large"))
    assert story.wrong() == {"backend": [at]}


def test_draining(story):
    """It took no new work when the decision was made."""
    story.submit()
    story.say("backend", "large", backend.Drained("repair"))
    at = story.tell(story.assigned("large"))
    assert story.wrong() == {"draining": [at]}


def test_meanwhile(story):
    """What the router could not have seen is no fault, and is counted."""
    story.submit()
    story.say("backend", "large", backend.Drained("repair"))
    story.tell(story.assigned("large", seen=story.end - 1))
    assert story.wrong() == {}
    assert story.report().counts["meanwhile"] == 1


def test_capability(story):
    """It can't do what the task needs."""
    story.submit(schema={"type": "object"})
    at = story.tell(story.assigned("small"))
    assert story.wrong() == {"capability": [at]}


def test_capability_of_reading_so_much(story):
    """Its window is smaller than what the task asks for."""
    story.submit(needs=Needs(context=5000))
    at = story.tell(story.assigned("large"))
    assert story.wrong() == {"capability": [at]}


def test_data_policy(story):
    """It does not promise what the task's text may not go without."""
    story.submit(needs=Needs(data_policy=("no-train",)))
    at = story.tell(story.assigned("large"))
    assert story.wrong() == {"data-policy": [at]}


def test_pin(story):
    """The task was for another one."""
    story.submit(backend="small")
    at = story.tell(story.assigned("large"))
    assert story.wrong() == {"pin": [at]}


def test_max_cost(story):
    """It was predicted to cost more than it may."""
    story.submit(max_cost=5)
    at = story.tell(story.assigned(cost=6))
    assert story.wrong() == {"max-cost": [at]}


def test_decision_on_the_future(story):
    """A decision can't have seen what came after it."""
    story.submit()
    at = story.tell(story.assigned(seen=99))
    assert story.wrong() == {"decision": [at]}


def test_decision_for_no_candidate(story):
    """The one that was chosen was not among those that could do it."""
    story.submit()
    assigned = story.assigned()
    few = replace(assigned.decision.candidates, backends=("small",), costs=(1,), latencies=(1,), qualities=(1,))
    at = story.tell(replace(assigned, decision=replace(assigned.decision, candidates=few)))
    assert story.wrong() == {"decision": [at]}


def test_decision_of_the_wrong_number(story):
    """Assignments are counted."""
    story.submit()
    at = story.tell(story.assigned(attempt=2))
    assert story.wrong() == {"decision": [at]}


def test_unapproved(story):
    """A tool is called that people have to be asked about, and nobody was."""
    story.working_agent("mail")
    at = story.agent(agent_events.Began("mail 1.1"))
    assert story.wrong() == {"unapproved": [at]}


def test_unapproved_but_denied(story):
    """Somebody was asked, and said no."""
    story.working_agent("mail")
    story.ask(approval.Denied(approval.hash_of({"tool": "mail", "arguments": {}}), "bob"))
    story.agent(agent_events.Stepped("approve mail 1.1", on="approval/ok"))
    at = story.agent(agent_events.Began("mail 1.1"))
    assert story.wrong() == {"unapproved": [at]}


def test_unapproved_by_anothers_approval(story):
    """The approval was for somebody, or something, else."""
    yes = approval.Approved(approval.hash_of({"tool": "mail", "arguments": {}}), "bob")
    story.working_agent()
    story.ask(yes, by="somebody")
    story.agent(agent_events.Stepped("ask", on="approval/ok"))
    at = story.agent(agent_events.Began("send", needs="ask"))
    assert story.wrong() == {"unapproved": [at]}


def test_unapproved_for_another_tool(story):
    """What was approved was another call."""
    story.working_agent("pay")
    story.ask(approval.Approved(approval.hash_of({"tool": "mail", "arguments": {}}), "bob"))
    story.agent(agent_events.Stepped("approve pay 1.1", on="approval/ok"))
    at = story.agent(agent_events.Began("pay 1.1"))
    assert story.wrong() == {"unapproved": [at]}


def test_action(story):
    """A question that bears the hash of another action."""
    at = story.say("approval", "ok", approval.Requested({"pay": 1}, approval.hash_of({"pay": 1000}), "Pay?"))
    assert story.wrong() == {"action": [at]}


def test_action_of_the_answer(story):
    """An answer to something else than what was asked."""
    story.ask()
    at = story.say("approval", "ok", approval.Approved("ab" * 32, "bob"))
    assert story.wrong() == {"illegal": [at]}


def test_late(story):
    """An answer after the end that counted all the same."""
    hashed = approval.hash_of(1)
    story.say("approval", "ok", approval.Requested(1, hashed, expires=START - timedelta(hours=1)))
    at = story.say("approval", "ok", approval.Approved(hashed, "bob"))
    assert story.wrong() == {"late": [at]}


def test_unsaid(story):
    """An agent hears what the other one never said."""
    at = story.agent(agent_events.Received("m1", agent_events.Value("pay"), "boss", 1))
    assert story.wrong() == {"unsaid": [at]}


def test_unsaid_like_this(story):
    """Or said otherwise."""
    story.agent(agent_events.Received("m0", agent_events.Value("go")), name="boss")
    story.agent(agent_events.Taken("m0", "h1", 1), name="boss")
    story.agent(agent_events.Sent("tell", "writer--ann", 1, "m1", agent_events.Value("pay 1")), name="boss")
    at = story.agent(agent_events.Received("m1", agent_events.Value("pay 1000"), "boss", 1))
    assert story.wrong() == {"unsaid": [at]}


def test_unsaid_by_a_task(story):
    """A step ends on a task that has not ended."""
    story.submit()
    story.working_agent()
    at = story.agent(agent_events.Stepped("think", on="task/2f-task"))
    assert story.wrong() == {"unsaid": [at]}


def test_unknown_cost(story):
    """A call whose end nobody saw is listed, and no fault."""
    story.submit()
    story.tell(story.assigned())
    story.tell(task.Started("large", 1, "w"), task.Cancelled())
    report = story.report()
    assert report.result == "clean"
    assert (report.checked.unknown, report.counts["unknown-cost"]) == (1, 1)


def test_by_hand(story):
    """What a person told is counted, and no fault."""
    story.submit()
    story.tell(story.assigned())
    story.tell(task.Started("large", 1, "w"), task.Cancelled())
    story.tell(task.Spent("large", 1, Usage(), 77, "told by hand"))
    report = story.report()
    assert report.result == "clean"
    assert (report.checked.by_hand, report.counts["by-hand"]) == (1, 1)
