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
