from django.db import migrations, models

TABLES = [
    'mainspring_job',
    'mainspring_finished',
    'mainspring_outbox',
    'mainspring_worker',
    'mainspring_waiter',
    'mainspring_installation',
    'mainspring_question',
]


def tune(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Say what Django's fields cannot say about these tables."""
    connection = schema_editor.connection
    if connection.vendor == 'postgresql':
        # Django adds a second index to a textual key, for LIKE; nobody asks that of an id.
        schema_editor.deferred_sql = [sql for sql in schema_editor.deferred_sql if 'varchar_pattern_ops' not in str(sql)]
    if connection.vendor == 'mysql':
        # Any character can be stored, and names that differ in case, accents or blanks stay different.
        collation = 'utf8mb4_nopad_bin' if connection.mysql_is_mariadb else 'utf8mb4_0900_bin'
        for table in TABLES:
            schema_editor.execute(f'ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}')


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name='Outbox',
            fields=[
                ('id', models.CharField(max_length=36, primary_key=True, serialize=False)),
                ('alias', models.CharField(max_length=64)),
                ('job', models.TextField()),
                ('created_at', models.BigIntegerField()),
            ],
            options={
                'verbose_name_plural': 'outbox',
                'db_table': 'mainspring_outbox',
            },
        ),
        migrations.CreateModel(
            name='Worker',
            fields=[
                ('id', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('beat', models.BigIntegerField(db_default=0)),
                ('started_at', models.BigIntegerField()),
                ('beat_at', models.BigIntegerField()),
                ('facts', models.TextField(db_default='{}')),
            ],
            options={
                'db_table': 'mainspring_worker',
            },
        ),
        migrations.CreateModel(
            name='Finished',
            fields=[
                ('id', models.CharField(max_length=36, primary_key=True, serialize=False)),
                ('state', models.CharField(max_length=12)),
                ('queue_name', models.CharField(max_length=100)),
                ('priority', models.IntegerField()),
                ('task_path', models.CharField(max_length=255)),
                ('arguments', models.TextField()),
                ('enqueued_at', models.BigIntegerField()),
                ('run_after', models.BigIntegerField(null=True)),
                ('token', models.BigIntegerField(null=True)),
                ('worker_id', models.CharField(db_default='', max_length=64)),
                ('attempts', models.IntegerField(db_default=0)),
                ('crashes', models.IntegerField(db_default=0)),
                ('interruptions', models.IntegerField(db_default=0)),
                ('max_crashes', models.IntegerField(null=True)),
                ('errors', models.TextField(db_default='[]')),
                ('worker_ids', models.TextField(db_default='[]')),
                ('result', models.TextField(null=True)),
                ('started_at', models.BigIntegerField(null=True)),
                ('last_attempted_at', models.BigIntegerField(null=True)),
                ('finished_at', models.BigIntegerField(null=True)),
            ],
            options={
                'verbose_name': 'finished job',
                'db_table': 'mainspring_finished',
                'indexes': [models.Index(fields=['state', 'finished_at'], name='mainspring_finished_state')],
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.CharField(max_length=36, primary_key=True, serialize=False)),
                ('state', models.CharField(max_length=12)),
                ('queue_name', models.CharField(max_length=100)),
                ('priority', models.IntegerField()),
                ('task_path', models.CharField(max_length=255)),
                ('arguments', models.TextField()),
                ('enqueued_at', models.BigIntegerField()),
                ('run_after', models.BigIntegerField(null=True)),
                ('token', models.BigIntegerField(null=True)),
                ('worker_id', models.CharField(db_default='', max_length=64)),
                ('attempts', models.IntegerField(db_default=0)),
                ('crashes', models.IntegerField(db_default=0)),
                ('interruptions', models.IntegerField(db_default=0)),
                ('max_crashes', models.IntegerField(null=True)),
                ('errors', models.TextField(db_default='[]')),
                ('worker_ids', models.TextField(db_default='[]')),
                ('result', models.TextField(null=True)),
                ('started_at', models.BigIntegerField(null=True)),
                ('last_attempted_at', models.BigIntegerField(null=True)),
                ('finished_at', models.BigIntegerField(null=True)),
                ('rank', models.BigIntegerField(null=True)),
                ('due_at', models.BigIntegerField(null=True)),
            ],
            options={
                'db_table': 'mainspring_job',
                'indexes': [models.Index(fields=['queue_name', 'rank'], name='mainspring_job_rank'), models.Index(fields=['due_at'], name='mainspring_job_due'), models.Index(condition=models.Q(('state', 'running')), fields=['worker_id'], name='mainspring_job_held')],
            },
        ),
        migrations.CreateModel(
            name='Waiter',
            fields=[
                ('id', models.CharField(max_length=36, primary_key=True, serialize=False)),
                ('job_id', models.CharField(max_length=36)),
                ('expires_at', models.BigIntegerField()),
            ],
            options={
                'db_table': 'mainspring_waiter',
                'indexes': [models.Index(fields=['job_id'], name='mainspring_waiter_job')],
            },
        ),
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.IntegerField(primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=100)),
                ('adopted_at', models.BigIntegerField()),
            ],
            options={
                'db_table': 'mainspring_installation',
            },
        ),
        migrations.CreateModel(
            name='Question',
            fields=[
                ('id', models.CharField(max_length=36, primary_key=True, serialize=False)),
                ('worker_id', models.CharField(max_length=64)),
                ('kind', models.CharField(max_length=32)),
                ('body', models.TextField()),
                ('asked_at', models.BigIntegerField()),
                ('answer', models.TextField(null=True)),
            ],
            options={
                'db_table': 'mainspring_question',
                'indexes': [models.Index(fields=['worker_id'], name='mainspring_question_worker')],
            },
        ),
        migrations.RunPython(tune, migrations.RunPython.noop, atomic=False),
    ]
