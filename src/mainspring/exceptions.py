"""Errors that a caller may want to tell apart."""


class MainspringError(Exception):
    """Base of every error that Mainspring raises on purpose."""


class BrokerUnavailable(MainspringError):
    """The store cannot be reached, or its tables are missing; trying again later may help."""


class BrokerRefused(MainspringError):
    """The store is there but refused one value: nothing of that statement was written."""


class InvalidArguments(MainspringError, TypeError):
    """A task was called with something that JSON cannot carry."""


class InvalidOptions(MainspringError):
    """TASKS[alias]["OPTIONS"] holds something that Mainspring cannot use."""


class NotSentYet(MainspringError):
    """A result was waited for inside the transaction that has yet to send its job."""


class NotUnique(MainspringError):
    """A job with the same unique key is there already; `job_id` is its id. Nothing was stored."""

    def __init__(self, message: str, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class KeyLocked(BrokerUnavailable):
    """Another transaction that has not ended yet has stored a job with the same unique key; trying again may help."""


class ResultTimeout(MainspringError, TimeoutError):
    """A job did not end within the time that its caller would wait."""


class LockNotAcquired(MainspringError, TimeoutError):
    """A lock or semaphore had no room for its caller within the time that he would wait."""


class JobFailed(MainspringError):
    """A job that was waited for ended without success; the last error is in the message."""


class UnknownTask(MainspringError):
    """A stored path does not lead to a task in this project."""


class NotInJob(MainspringError):
    """The current job was asked for where no job runs."""


class WrongSite(MainspringError):
    """The store belongs to another installation than this worker's."""


class TimeLimitExceeded(BaseException):
    """
    Raised inside a task whose `timeout` has passed; in async code it comes as CancelledError.

    It is no Exception, so that a task's `except Exception` does not take it for an error of its own.
    """

    def __init__(self, reason: str = "The job ran longer than its timeout allows.") -> None:
        super().__init__(reason)


# The reasons below are never raised: they are the error class of a job that ended without running to its end.


class WorkerCrashed(MainspringError):
    """The process that ran the job died."""


class Quarantined(MainspringError):
    """The job ended because its worker died under it as often as the task allows."""


class Superseded(MainspringError):
    """The job had to come back, and another with its unique key had been enqueued meanwhile."""


class Cancelled(MainspringError):
    """The job was cancelled before it ran."""


class Retry(MainspringError):
    """
    Raise this inside a task to run the job again.

    `delay` is seconds or a timedelta; without it the task's own backoff decides. The attempt counts.
    """

    def __init__(self, delay: object = None, reason: str = "") -> None:
        super().__init__(reason or "The task asked to be run again.")
        self.delay = delay


class RetryAfter(MainspringError):
    """
    Raise this inside a task when somebody else has said to come back later: it runs again then, and no attempt counts.

    `delay` is seconds, a timedelta, a text such as "30s", or what an HTTP header Retry-After says: a number or a date.
    Until then nothing starts under the limit of the name `limit`; without one, under any limit that the job has.
    """

    def __init__(self, delay: object, limit: str | None = None) -> None:
        super().__init__(f"The task asked to be run again after {delay}.")
        self.delay = delay
        self.limit = limit
