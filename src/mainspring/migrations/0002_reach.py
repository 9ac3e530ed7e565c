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
        migrations.RunPython(tune, migrations.RunPython.noop, atomic=False),
    ]
