from django.db import migrations, models

ROOM = 50  # percent of a page that inserts fill: in the rest a claim finds room for the row that it changes


def tune(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Say what Django's fields cannot say about these tables."""
    connection = schema_editor.connection
    if connection.vendor == 'postgresql':
        # A claim changes no indexed column. Where the page has room too, it writes to no index (heap-only update).
        schema_editor.execute(f'ALTER TABLE mainspring_job SET (fillfactor = {ROOM})')
    if connection.vendor == 'mysql':
        collation = 'utf8mb4_nopad_bin' if connection.mysql_is_mariadb else 'utf8mb4_0900_bin'
        schema_editor.execute(f'ALTER TABLE mainspring_reach CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}')


def untune(apps, schema_editor):  # type: ignore[no-untyped-def]
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('ALTER TABLE mainspring_job RESET (fillfactor)')


def note_what_runs(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Note how far those have claimed whose jobs run now, or nobody would find these when their workers die."""
    low = '(job.rank >> 52) << 52'
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO mainspring_reach (worker_id, queue_name, low, high)'
            f' SELECT worker_id, queue_name, {low}, max(job.rank) + 1 FROM mainspring_job AS job'
            f" WHERE state = 'running' AND job.rank IS NOT NULL GROUP BY worker_id, queue_name, {low}"
        )


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0001_initial')]

    operations = [
        migrations.CreateModel(
            name='Reach',
            fields=[
                (
                    'pk',
                    models.CompositePrimaryKey(
                        'worker_id', 'queue_name', 'low', blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ('worker_id', models.CharField(max_length=64)),
                ('queue_name', models.CharField(max_length=100)),
                ('low', models.BigIntegerField()),
                ('high', models.BigIntegerField()),
            ],
            options={'db_table': 'mainspring_reach', 'verbose_name_plural': 'reaches'},
        ),
        migrations.RemoveIndex(model_name='job', name='mainspring_job_held'),
        migrations.RemoveIndex(model_name='job', name='mainspring_job_due'),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(
                condition=models.Q(('due_at__isnull', False)), fields=['due_at'], name='mainspring_job_due'
            ),
        ),
        migrations.RunPython(tune, untune, atomic=False),
        migrations.RunPython(note_what_runs, migrations.RunPython.noop),
    ]
