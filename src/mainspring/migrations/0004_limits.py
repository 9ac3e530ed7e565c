from django.db import migrations, models


def tune(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Keep names that differ in case, accents or blanks different on MySQL."""
    connection = schema_editor.connection
    if connection.vendor == 'mysql':
        collation = 'utf8mb4_nopad_bin' if connection.mysql_is_mariadb else 'utf8mb4_0900_bin'
        for table in ('mainspring_limit', 'mainspring_hold'):
            schema_editor.execute(f'ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}')


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0003_unique')]

    operations = [
        migrations.CreateModel(
            name='Limit',
            fields=[
                ('name', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('concurrency', models.IntegerField(null=True)),
                ('rate', models.TextField(null=True)),
                ('is_given', models.IntegerField(db_default=0)),
                ('seen', models.TextField(db_default='[]')),
                ('paused_until', models.BigIntegerField(db_default=0)),
                ('promised', models.BigIntegerField(db_default=0)),
            ],
            options={'db_table': 'mainspring_limit'},
        ),
        migrations.CreateModel(
            name='Hold',
            fields=[
                (
                    'pk',
                    models.CompositePrimaryKey(
                        'limit_name', 'job_id', blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ('limit_name', models.CharField(max_length=200)),
                ('job_id', models.CharField(max_length=36)),
                ('cost', models.IntegerField()),
            ],
            options={
                'db_table': 'mainspring_hold',
                'indexes': [models.Index(fields=['job_id'], name='mainspring_hold_job')],
            },
        ),
        migrations.AddField(model_name='finished', name='limits', field=models.TextField(null=True)),
        migrations.AddField(model_name='job', name='limits', field=models.TextField(null=True)),
        migrations.AddField(
            model_name='job', name='parked_under', field=models.CharField(max_length=200, null=True)
        ),
        migrations.AddField(model_name='job', name='place', field=models.BigIntegerField(null=True)),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(
                condition=models.Q(('parked_under__isnull', False)),
                fields=['parked_under', 'place'],
                name='mainspring_job_parked',
            ),
        ),
        migrations.RunPython(tune, migrations.RunPython.noop, atomic=False),
    ]
