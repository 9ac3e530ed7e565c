import time

from mainspring import task


@task
def noop():
    pass


@task
async def async_noop():
    pass


@task
def query():
    from django.contrib.auth.models import User

    User.objects.filter(pk=1).exists()


@task
def take(text):
    pass


@task
def moment():
    return time.time_ns()


@task
def last(seconds):
    began = time.time_ns()
    time.sleep(seconds)
    return began


@task
def last_longer(seconds):
    began = time.time_ns()
    time.sleep(seconds)
    return began
